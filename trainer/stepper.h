#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batch.h"
#include "models/causal_lm.h"
#include "optim/optimizer.h"
#include "trainer/leaf_sum.h"
#include "trainer/objectives/objective.h"

namespace trainer {

// What a step or an evaluation adds up to, over the objective's unit.
struct Sums {
    double loss = 0;
    double correct = 0;
    double entropy = 0;
    std::int64_t count = 0;   // of the unit
    std::int64_t input_tokens = 0;

    double mean_loss() const { return count > 0 ? loss / static_cast<double>(count) : 0; }
};

struct StepperOptions {
    bool strict = true;   // sum leaves by the tree; else in place, in order
    Recompute recompute = Recompute::none;
    double clip_norm = 1.0;   // 0: measure only
};

// One optimizer step: leaves forward and backward, gradients summed, clipped, applied. The same code runs on the meta
// place for the memory plan.
class Stepper {
public:
    Stepper(CausalLm& model, const Objective& objective, Optimizer& optimizer, StepperOptions options);

    struct Result {
        Sums sums;
        double gradient_norm = 0;   // before clipping
    };
    // The loss is the sum over all leaves divided by the step's count. Error(diverged) for a loss or gradient that is
    // not finite; no weight has changed then.
    Result step(std::span<const Batch> leaves, double learning_rate);

private:
    void leaf(const Batch& batch, std::int64_t step_count, Sums& sums);

    CausalLm& model_;
    const Objective& objective_;
    Optimizer& optimizer_;
    StepperOptions options_;
    std::vector<Parameter*> trainable_;
    LeafSum leaf_sum_;
};

// Adds one leaf's sums without recording anything; dropout off.
void evaluate_leaf(const CausalLm& model, const Objective& objective, const Batch& batch, Sums& sums);

}   // namespace trainer
