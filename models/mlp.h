#pragma once

#include <utility>

#include "autograd/ops/silu_mul.h"
#include "autograd/tape.h"
#include "models/group.h"

namespace trainer {

// down(silu(gate(x)) ⊙ up(x)), for context.mlp_chunk tokens at once.
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
        if (context.mlp_chunk == 0 || x.rows() <= context.mlp_chunk) return of_all(x, context);
        const auto part = [this, &context](const Tensor& rows, std::int64_t begin, std::int64_t end) {
            Layout layout;   // of a token the layer asks for nothing but its key
            if (context.layout.token_keys.defined())
                layout.token_keys = context.layout.token_keys.row_range(begin, end);
            return of_all(rows, {layout, context.training, context.adapters});
        };
        return recompute_by_rows(part, x, context.mlp_chunk);
    }

    std::vector<Weight*> weights() const { return {&gate_up_.weight(), &down_.weight()}; }

private:
    Tensor of_all(const Tensor& x, const ForwardContext& context) const {
        const Tensor gate_up = gate_up_(x, context);   // (N, 2I)
        Tensor mixed = silu_mul(gate_up);              // (N, I)
        const Tensor out = down_(mixed, context);      // (N, C)
        if (context.recompute == Recompute::norms)
            leave_memory(std::move(mixed), [gate_up = gate_up.detached()] { return silu_mul(gate_up); });
        return out;
    }

    LinearGroup gate_up_;
    LinearGroup down_;
};

}   // namespace trainer
