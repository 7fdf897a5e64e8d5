#pragma once

#include <memory>
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
        const auto chunk = std::make_shared<Chunk>(context);
        const auto part = [this, chunk](const Tensor& rows, std::int64_t begin, std::int64_t end) {
            chunk->move_to(begin, end);
            return of_all(rows, chunk->context);
        };
        return recompute_by_rows(part, x, context.mlp_chunk);
    }

    std::vector<Weight*> weights() const { return {&gate_up_.weight(), &down_.weight()}; }

private:
    // The context of some tokens, for as long as the tape that computes them again. Of a token the layer asks for
    // nothing but its key.
    struct Chunk {
        explicit Chunk(const ForwardContext& whole)
            : keys(whole.layout.token_keys), context{layout, whole.training, whole.adapters} {}
        void move_to(std::int64_t begin, std::int64_t end) {
            if (keys.defined()) layout.token_keys = keys.row_range(begin, end);
        }

        Tensor keys;   // of all tokens
        Layout layout;
        ForwardContext context;
    };

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
