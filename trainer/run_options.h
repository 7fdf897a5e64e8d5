#pragma once

#include <string_view>

#include "trainer/inputs.h"
#include "trainer/stepper.h"

namespace trainer {

// What follows from a recipe by the rules of DESIGN section 8 and 9.
DType compute_dtype(const Recipe& recipe);
// `auto` decided: strict with an adapter or with sharded gradients, else repeatable.
Determinism determinism(const Recipe& recipe);
StepperOptions stepper_options(const Recipe& recipe);
std::int64_t evaluation_batch(const Recipe& recipe);
std::string_view task_name(Task task);
// In steps.
std::int64_t steps_between(const Interval& every, const StepPlan& plan, std::int64_t total_steps);
// Tokens of the longest document of all data.
std::int64_t longest_document(const Inputs& inputs);

}   // namespace trainer
