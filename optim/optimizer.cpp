#include "optim/optimizer.h"

#include "configs/error.h"

namespace trainer {

Optimizer::Optimizer(const std::vector<UpdatedSlice>& slices) : updated_(slices) {
    for (const UpdatedSlice& one : slices) slices_.push_back(one.slice);
}

void Optimizer::prepare() {
    const PurposeScope purpose(Purpose::optimizer);
    state_.clear();
    for (const ParameterSlice& slice : slices_) {
        State& state = state_.emplace_back();
        for (const StateTensor& tensor : state_tensors(*slice.parameter))
            state[tensor.name] =
                Tensor::zeros(tensor.end(slice) - tensor.begin(slice), tensor.dtype, slice.parameter->value.place());
        initialise(slice, state);
    }
}

void Optimizer::step(const std::vector<Tensor>& gradients, double learning_rate, float gradient_scale) {
    check(gradients.size() == slices_.size(), "optimizer: {} gradients for {} slices", gradients.size(),
          slices_.size());
    ++steps_;
    begin_step(learning_rate);
    for (std::size_t i = 0; i < slices_.size(); ++i)
        update(slices_[i], gradients[i], state_[i],
               {learning_rate * slices_[i].parameter->lr_scale * updated_[i].rate, updated_[i].weight_decay,
                gradient_scale, steps_});
}

void Optimizer::to_evaluation_values() {
    for (std::size_t i = 0; i < slices_.size(); ++i) to_evaluation_value(slices_[i], state_[i]);
}

}   // namespace trainer
