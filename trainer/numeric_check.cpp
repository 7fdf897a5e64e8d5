#include "trainer/numeric_check.h"

namespace trainer {

namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('.')); }

}   // namespace

std::string NumericCheck::module_of(const OpName& op) const {
    if (op.weight) return op.stacked ? parent_of(parent_of(op.weight->name)) : parent_of(op.weight->name);
    return block_ >= 0 ? model_.block_scope(static_cast<std::size_t>(block_)) : "";
}

void NumericCheck::look(const OpName& op, bool backward, const std::string& tensor, const Tensor& x) {
    if (found_ || !x.defined()) return;
    if (const auto at = first_nonfinite(x))
        found_ = NumericFinding{backward, module_of(op), op.name, tensor, true, x.shape(), *at};
}

void NumericCheck::look_at(const Parameter& parameter) {
    if (found_) return;
    look(op_, true, "gradient of " + parameter.name, parameter.gradient);
    if (!found_) return;
    found_->module = parent_of(parameter.name);
    found_->activation = false;
}

void NumericCheck::made(const OpName& op, const Tensor& output) { look(op, false, "output", output); }

void NumericCheck::gradient(const Tensor& term) { look(op_, true, "gradient of the input", term); }

void NumericCheck::backward_ends() {
    for (const Parameter* parameter : trainable_)
        if (parameter->gradient.defined() && seen_.insert(parameter).second) look_at(*parameter);
}

void NumericCheck::finish() {
    for (const Parameter* parameter : trainable_) look_at(*parameter);
}

}   // namespace trainer
