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
    // into it, allocates adapters and fixes how the group runs. To be called once adapters are attached and
    // `trainable` flags are set; the values are loaded afterwards.
    void prepare(Place place, DType compute);

    // y (N, Σ out), members side by side in the order of declaration.
    Tensor operator()(const Tensor& x, const ForwardContext& context) const;

    Weight& weight() const { return *weight_; }
    // The group as terms of the op `linear`, with the adapters that the context asks for; valid after prepare.
    // Error(internal) when one of them is General: its members can only be run, by operator().
    const LinearTerms& terms(const ForwardContext& context) const;

private:
    Tensor member_by_member(const Tensor& x, const ForwardContext& context) const;

    std::vector<std::unique_ptr<Linear>> members_;
    std::unique_ptr<Weight> weight_;
    LinearTerms bare_;                             // without adapters
    LinearTerms with_adapters_;                    // with all low-rank adapters
    std::vector<General> general_;                 // per member; an empty function where the member has none
    std::vector<std::unique_ptr<Weight>> views_;   // one weight per member, when run member by member
    std::vector<LinearTerms> member_terms_;
};

}   // namespace trainer
