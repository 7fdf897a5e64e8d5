#include "trainer/evaluation_values.h"

namespace trainer {

namespace {

ValueCopies copy_values(const std::vector<Parameter*>& parameters) {
    const PurposeScope purpose(Purpose::workspace);
    ValueCopies copies;
    for (const Parameter* parameter : parameters) {
        Tensor& values = copies[parameter] =
            Tensor::empty(parameter->shape, parameter->value.dtype(), parameter->value.place());
        copy(parameter->value, values);
    }
    return copies;
}

}   // namespace

EvaluationValues::EvaluationValues(CausalLm& model, Optimizer& optimizer, Stepper& stepper) {
    if (!optimizer.has_evaluation_values()) return;
    parameters_ = model.parameters().trainable();
    before_ = copy_values(parameters_);
    optimizer.to_evaluation_values();
    stepper.share_values();
}

EvaluationValues::~EvaluationValues() {
    if (std::uncaught_exceptions() > exceptions_) return;   // a run that ends needs none; the device may have failed
    for (Parameter* parameter : parameters_) {
        copy(before_.at(parameter), parameter->value);
        parameter->changed();
    }
}

ValueCopies copy_evaluation_values(CausalLm& model, Optimizer& optimizer, Stepper& stepper, bool wanted) {
    if (!optimizer.has_evaluation_values()) return {};
    const EvaluationValues values(model, optimizer, stepper);
    return wanted ? copy_values(model.parameters().trainable()) : ValueCopies();
}

}   // namespace trainer
