#include "trainer/run_options.h"

#include <algorithm>
#include <cmath>

#include "configs/error.h"

namespace trainer {

DType compute_dtype(const Recipe& recipe) {
    switch (recipe.training.precision) {
        case Precision::f32:
            return DType::f32;
        case Precision::bf16:
            return DType::bf16;
        case Precision::f16:
            return DType::f16;
    }
    return DType::f32;
}

Determinism determinism(const Recipe& recipe) {
    const TrainingOptions& training = recipe.training;
    if (training.sharding == Sharding::gradients) return Determinism::strict;
    if (training.determinism != Determinism::automatic) return training.determinism;
    return recipe.peft ? Determinism::strict : Determinism::repeatable;
}

StepperOptions stepper_options(const Recipe& recipe) {
    const TrainingOptions& training = recipe.training;
    return {determinism(recipe),          training.sharding,
            training.recompute,           training.clip_norm,
            recipe.optimizer.in_backward, training.mlp_chunk.value_or(0)};
}

std::int64_t evaluation_batch(const Recipe& recipe) {
    return recipe.eval.batch.value_or(recipe.training.micro_batch.rows);
}

std::string rows_text(const Inputs& inputs) {
    const char* word = inputs.recipe.data.packing == PackingStrategy::none ? "row" : "pack";
    return format("{} {}{}", inputs.rows.size(), word, inputs.rows.size() == 1 ? "" : "s");
}

std::int64_t steps_between(const Interval& every, const StepPlan& plan, std::int64_t total_steps) {
    switch (every.unit) {
        case Interval::Unit::steps:
            return static_cast<std::int64_t>(every.value);
        case Interval::Unit::epoch:
            return plan.steps_per_epoch();
        case Interval::Unit::fraction:
            break;
    }
    return std::max<std::int64_t>(1,
                                  static_cast<std::int64_t>(std::ceil(every.value * static_cast<double>(total_steps))));
}

std::optional<std::int64_t> first_checkpoint(const Inputs& inputs) {
    const CheckpointOptions& options = inputs.recipe.checkpoint;
    if (!options.every) return std::nullopt;
    const std::int64_t total = inputs.total_steps;
    std::int64_t first = steps_between(*options.every, *inputs.plan, total);
    if (options.best && !inputs.valid.empty())
        first = std::min({first, total, steps_between(inputs.recipe.eval.every, *inputs.plan, total)});
    return first <= total ? std::optional(first) : std::nullopt;
}

std::int64_t longest_document(const Inputs& inputs) {
    std::int64_t longest = inputs.train.report.longest;
    for (const ValidationSet& set : inputs.valid) longest = std::max(longest, set.data.report.longest);
    return longest;
}

}   // namespace trainer
