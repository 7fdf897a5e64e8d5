#include "optim/optimizer.h"

namespace trainer {

void Optimizer::prepare() {
    const PurposeScope purpose(Purpose::optimizer);
    for (Parameter* parameter : parameters_)
        for (const std::string& name : state_names())
            state_[parameter->name][name] = Tensor::zeros(parameter->shape, DType::f32, parameter->value.place());
}

void Optimizer::step(float learning_rate, float gradient_scale) {
    ++steps_;
    for (Parameter* parameter : parameters_) {
        update(*parameter, parameter->gradient, state_.at(parameter->name), learning_rate, gradient_scale, steps_);
        parameter->changed();
    }
}

}   // namespace trainer
