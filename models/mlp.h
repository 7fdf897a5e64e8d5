#pragma once

#include "autograd/ops/silu_mul.h"
#include "models/group.h"

namespace trainer {

// down(silu(gate(x)) ⊙ up(x))
class GatedMlp {
public:
    GatedMlp(const Scope& scope, std::int64_t hidden, std::int64_t intermediate, bool bias)
        : gate_up_(scope, hidden, {{"gate_proj", intermediate, bias}, {"up_proj", intermediate, bias}}),
          down_(scope, intermediate, {{"down_proj", hidden, bias}}) {}

    void prepare(Place place, DType compute) {
        gate_up_.prepare(place, compute);
        down_.prepare(place, compute);
    }

    Tensor operator()(const Tensor& x, const ForwardContext& context) const {
        const Tensor gate_up = gate_up_(x, context);   // (N, 2I)
        return down_(silu_mul(gate_up), context);      // (N, C)
    }

    std::vector<Weight*> weights() const { return {&gate_up_.weight(), &down_.weight()}; }

private:
    LinearGroup gate_up_;
    LinearGroup down_;
};

}   // namespace trainer
