#pragma once

#include <optional>
#include <string>

#include "trainer/inputs.h"
#include "trainer/stepper.h"

namespace trainer {

// What follows from a recipe by the rules of docs/semantics.md.
DType compute_dtype(const Recipe& recipe);
// Always strict with sharded gradients; `auto` is strict with an adapter, else repeatable.
Determinism determinism(const Recipe& recipe);
StepperOptions stepper_options(const Recipe& recipe);
std::int64_t evaluation_batch(const Recipe& recipe);
// The first step after which a checkpoint is written; nothing when that is none of the run's.
std::optional<std::int64_t> first_checkpoint(const Inputs& inputs);
// In steps.
std::int64_t steps_between(const Interval& every, const StepPlan& plan, std::int64_t total_steps);
// "211 packs" with packing, else "889 rows": what an epoch goes over.
std::string rows_text(const Inputs& inputs);
// Tokens of the longest document of all data.
std::int64_t longest_document(const Inputs& inputs);

}   // namespace trainer
