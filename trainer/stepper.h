#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/batch.h"
#include "models/causal_lm.h"
#include "optim/optimizer.h"
#include "trainer/gradient_sum.h"
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
    void add(const Sums& other);
};

struct StepperOptions {
    Determinism sums = Determinism::strict;
    Sharding sharding = Sharding::none;
    Recompute recompute = Recompute::none;
    double clip_norm = 1.0;     // 0: measure only
    bool in_backward = false;   // steps of one leaf of one rank, without clipping: trainer/backward_update.h
    std::int64_t mlp_chunk = 0;
    OffloadStore* offload = nullptr;   // of activations
};

// One optimizer step: leaves forward and backward, gradients summed over leaves and ranks, clipped, applied. The same
// code runs on the meta place for the memory plan.
class Stepper {
public:
    // `path`: of the place where the model lives. The model must be prepared; what is given must outlive the stepper.
    Stepper(CausalLm& model, const Objective& objective, DataPath& path, const StepperOptions& options);

    // The parts of the parameters that this rank updates: what the optimizer is made for.
    const std::vector<ParameterSlice>& slices() const { return gradients_->slices(); }

    const ShardLayout& layout() const { return gradients_->layout(); }
    // The indices, ascending, of this rank's leaves in a step of `leaves` leaves.
    std::vector<std::int64_t> leaves_of(std::int64_t leaves) const { return gradients_->leaves_of(leaves); }

    struct Result {
        Sums sums;
        double gradient_norm = 0;        // before clipping, of the loss itself
        std::int64_t local_tokens = 0;   // input tokens of this rank
        bool applied = false;            // false: loss or gradient are not finite and nothing has changed
        bool spoiled = false;            // but a part had been updated in the backward pass
    };
    // Collective. `leaf(i)` makes leaf i of the step's `leaves`; it is asked for those of this rank. The loss is the
    // sum over all leaves divided by the step's count. Gradients are of the loss times `loss_scale` until they are
    // summed (optim/loss_scaler.h).
    Result step(std::int64_t leaves, const std::function<Batch(std::int64_t)>& leaf, Optimizer& optimizer,
                double learning_rate, double loss_scale = 1);

    // One leaf forward and backward, of which nothing stays.
    void rehearse(const Batch& batch);

    // Collective. Gives every rank the values of the slices that others own, after they were changed.
    void share_values() { gradients_->share_values(); }

private:
    ForwardContext training_context(const Batch& batch, std::function<void(std::size_t)> block_done) const;
    Result step_in_backward(const Batch& batch, Optimizer& optimizer, double learning_rate);

    CausalLm& model_;
    const Objective& objective_;
    Communicator& ranks_;
    StepperOptions options_;
    Place place_;
    std::unique_ptr<GradientSum> gradients_;
};

// Adds the gradients of one leaf of a step of `step_count` units, times `loss_scale`, to the parameters'.
// `before_backward` is told the loss, for which a device is waited for.
LeafSums forward_backward(const CausalLm& model, const Objective& objective, const Batch& batch,
                          const ForwardContext& context, std::int64_t step_count, double loss_scale = 1,
                          const std::function<void(double)>& before_backward = {});

// One leaf without recording anything; dropout off.
LeafSums evaluate_leaf(const CausalLm& model, const Objective& objective, const Batch& batch,
                       std::int64_t mlp_chunk = 0);

// What a rank found for one of all leaves.
struct LeafResult {
    std::int64_t leaf;
    Sums sums;
};

// The sums of several leaves. They stay where they were computed until they are asked for, so that a device is waited
// for once.
class LeafTable {
public:
    LeafTable(std::size_t leaves, Place place);   // at most so many
    void add(std::int64_t leaf, const LeafSums& sums, std::int64_t count, const Batch& batch);
    std::vector<LeafResult> read() const;

private:
    Tensor values_;
    std::vector<LeafResult> leaves_;   // but for what is in `values_`
};

// All ranks' results, by leaf. Collective.
std::vector<LeafResult> gather_results(Communicator& ranks, const std::vector<LeafResult>& mine);

}   // namespace trainer
