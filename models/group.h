#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/ops/linear.h"
#include "autograd/quant/weight.h"
#include "models/linear.h"

namespace trainer {

struct LinearSpec {
    std::string name;   // below the group's scope
    std::int64_t out;
    bool bias = false;
};

// One or more Linears that share an input (q, k, v; gate, up). Members keep their hub names, adapter slots and row
// ranges; the group owns the physical layout: their weights are stacked and multiplied at once.
class LinearGroup {
public:
    LinearGroup(const Scope& scope, std::int64_t in, const std::vector<LinearSpec>& members);

    // Allocates the stacked weight (f32 when a member is trainable, else `compute`), points the members' parameters
    // into it, allocates adapters and replacements and fixes how the group runs: fused when all members are bare or
    // low-rank. To be called once adapters are attached and `trainable` flags are set; the values are loaded
    // afterwards.
    void prepare(Place place, DType compute);

    // y (N, Σ out), members side by side in the order of declaration.
    Tensor operator()(const Tensor& x, const ForwardContext& context) const;

    Weight& weight() const { return *weight_; }
    // The group as terms of the op `linear`, with the adapters that the context asks for; valid after prepare.
    // Error(internal) when the members can only be run one by one, by operator().
    const LinearTerms& terms(const ForwardContext& context) const;

private:
    // One member with its adapters, and what it multiplies by when adapters are on.
    struct Member {
        std::unique_ptr<Linear> linear;
        std::unique_ptr<Weight> replaced;   // of a replacement of its weight; or null
        LinearTerms terms;                  // low-rank adapters included
        std::vector<AdapterForm> forms;
    };
    bool prepare_member(Member& member, Place place, DType compute);   // whether it can be fused
    void stack_biases(Place place, DType compute);
    Tensor run(const Member& member, const Tensor& x, const ForwardContext& context) const;
    Tensor member_by_member(const Tensor& x, const ForwardContext& context) const;

    std::vector<Member> members_;
    std::unique_ptr<Weight> weight_;
    LinearTerms bare_;            // without adapters
    LinearTerms with_adapters_;   // with all adapters, when fused
    Tensor biases_;               // side by side; undefined where each member has its own or none
    bool fused_ = true;
};

}   // namespace trainer
