#include "optim/optimizer.h"

#include "configs/error.h"

namespace trainer {

void Optimizer::prepare() {
    const PurposeScope purpose(Purpose::optimizer);
    state_.clear();
    for (const ParameterSlice& slice : slices_) {
        State& state = state_.emplace_back();
        for (const std::string& name : state_names())
            state[name] = Tensor::zeros(slice.elements(), DType::f32, slice.parameter->value.place());
    }
}

void Optimizer::step(const std::vector<Tensor>& gradients, float learning_rate, float gradient_scale) {
    check(gradients.size() == slices_.size(), "optimizer: {} gradients for {} slices", gradients.size(),
          slices_.size());
    ++steps_;
    for (std::size_t i = 0; i < slices_.size(); ++i)
        update(slices_[i], gradients[i], state_[i], learning_rate, gradient_scale, steps_);
}

}   // namespace trainer
