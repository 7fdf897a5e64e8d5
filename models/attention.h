#pragma once

#include "autograd/ops/attention.h"
#include "autograd/ops/rope.h"
#include "models/group.h"

namespace trainer {

// Causal self-attention with grouped key/value heads and rotary positions (reference: transformers' LlamaAttention).
class SelfAttention {
public:
    struct Options {
        std::int64_t hidden;
        AttentionShape shape;
        bool bias = false;   // on q, k, v and o
    };

    SelfAttention(const Scope& scope, const Options& options, int layer)
        : shape_(options.shape),
          layer_(layer),
          qkv_(scope, options.hidden,
               {{"q_proj", width(shape_.heads), options.bias},
                {"k_proj", width(shape_.kv_heads), options.bias},
                {"v_proj", width(shape_.kv_heads), options.bias}}),
          o_(scope, width(shape_.heads), {{"o_proj", options.hidden, options.bias}}) {}

    void prepare(Place place, DType compute) {
        qkv_.prepare(place, compute);
        o_.prepare(place, compute);
    }

    Tensor operator()(const Tensor& x, const RopeTable& table, const ForwardContext& context) const {
        Tensor qkv = qkv_(x, context);   // (N, (A + 2K)·D)
        qkv = rope(std::move(qkv), table, context.layout, shape_.heads + shape_.kv_heads, shape_.head_dim);
        const Tensor mixed = attention(qkv, context.layout, shape_, layer_);   // (N, A·D)
        return o_(mixed, context);                                             // (N, C)
    }

    std::vector<Weight*> weights() const { return {&qkv_.weight(), &o_.weight()}; }

private:
    std::int64_t width(int heads) const { return std::int64_t{heads} * shape_.head_dim; }

    AttentionShape shape_;
    int layer_;
    LinearGroup qkv_;
    LinearGroup o_;
};

}   // namespace trainer
