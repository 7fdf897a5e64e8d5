#pragma once

#include <exception>
#include <map>
#include <vector>

#include "models/causal_lm.h"
#include "trainer/stepper.h"

namespace trainer {

// The values of parameters at one moment, in their dtype.
using ValueCopies = std::map<const Parameter*, Tensor>;

// While it lives the trained parameters have the values at which the optimizer wants the model evaluated and saved;
// then they have to the last bit those from before. Making one is collective. Most rules have one set of values, and
// nothing happens.
class EvaluationValues {
public:
    EvaluationValues(CausalLm& model, Optimizer& optimizer, Stepper& stepper);
    ~EvaluationValues();
    EvaluationValues(const EvaluationValues&) = delete;
    EvaluationValues& operator=(const EvaluationValues&) = delete;

private:
    std::vector<Parameter*> parameters_;
    int exceptions_ = std::uncaught_exceptions();
    ValueCopies before_;   // empty when they are the same
};

// Copies of those values, taken where `wanted`. Collective; empty for rules with one set of values.
ValueCopies copy_evaluation_values(CausalLm& model, Optimizer& optimizer, Stepper& stepper, bool wanted);

}   // namespace trainer
