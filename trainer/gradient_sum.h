#pragma once

#include <memory>
#include <vector>

#include "comm/gradient_exchange.h"
#include "trainer/recipe_values.h"

namespace trainer {

// Which leaves of a step a rank computes, how their gradients are summed (docs/semantics.md):
//   strict      one binary tree over the leaf index: the same bits for any number of ranks
//   repeatable  in place over a rank's leaves, in order, then a tree over ranks
//   fast        in place, then whatever sum the library offers
// and who holds the sums:
//   none        every rank all of them
//   optimizer   every rank its part of the layout, handed over after the last leaf (ZeRO-1)
//   gradients   the same, but each unit is handed over when a leaf's backward pass has left it (ZeRO-2); always strict
class GradientSum {
public:
    virtual ~GradientSum() = default;

    // The indices, ascending, of this rank's leaves in a step of `leaves` leaves.
    virtual std::vector<std::int64_t> leaves_of(std::int64_t leaves) const = 0;

    // Collective from here on: `begin`; for every leaf of `leaves_of` its backward pass and `add_leaf`, with
    // `unit_done` for each unit but the last, from the highest to the lowest, as soon as its gradients are complete;
    // then `finish`.
    virtual void begin(std::int64_t leaves) = 0;
    virtual void unit_done(std::size_t unit) = 0;
    virtual void add_leaf() = 0;
    virtual void finish() = 0;

    // What this rank updates, and the sums for it after `finish`; undefined for zero.
    const std::vector<ParameterSlice>& slices() const { return slices_; }
    const std::vector<Tensor>& gradients() const { return gradients_; }
    // L2 norm over all parameters, the same bits at every rank and for every number of ranks.
    double norm() const;
    void forget_gradients();
    // After an update: every rank gets the values of the ranks that own them.
    void share_values();

    const ShardLayout& layout() const { return layout_; }

protected:
    using Gradients = std::unordered_map<Parameter*, Tensor>;

    // `sharded`: a rank holds and updates its part of the layout; else everything.
    GradientSum(std::vector<std::vector<Parameter*>> units, DataPath& path, bool sharded);

    static Gradients take_gradients(const std::vector<Parameter*>& parameters);
    // Where the slices of this rank's part of a bucket begin among `slices_`.
    std::size_t first_slice(std::size_t bucket) const;

    std::vector<std::vector<Parameter*>> units_;
    std::vector<Parameter*> parameters_;
    DataPath& path_;
    Communicator& ranks_;
    bool sharded_;
    ShardLayout layout_;
    GradientExchange exchange_;
    std::vector<ParameterSlice> slices_;
    std::vector<Tensor> gradients_;
};

// `units`: the trainable parameters by block of the model, what lies outside the blocks last.
std::unique_ptr<GradientSum> make_gradient_sum(std::vector<std::vector<Parameter*>> units, DataPath& path,
                                               Determinism sums, Sharding sharding);
// The two kinds behind it; they are the same for one rank.
std::unique_ptr<GradientSum> make_step_sum(std::vector<std::vector<Parameter*>> units, DataPath& path, Determinism sums,
                                           bool sharded);
std::unique_ptr<GradientSum> make_unit_sum(std::vector<std::vector<Parameter*>> units, DataPath& path);

// Adds tensors where both are there; for LeafTree.
struct AddTensors {
    void operator()(Tensor& sum, const Tensor& term) const;
};

}   // namespace trainer
