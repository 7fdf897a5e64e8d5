#pragma once

#include "autograd/layout.h"
#include "autograd/tensor.h"

namespace trainer {

struct AttentionShape {
    int heads = 0;
    int kv_heads = 0;   // divides heads; kv head h serves query heads h·(heads/kv_heads) …
    int head_dim = 0;
    float scale = 1;   // usually 1/√D
};

// qkv (N, (A + 2K)·D): columns are all query heads, then key heads, then value heads, after RoPE. Returns (N, A·D).
// Softmax in f32; each token sees the tokens of its own document (causal: up to itself). Works in tiles: no T × T
// matrix is held. Saves qkv, the output and one log-sum-exp per token and head.
// With layout.cache (one document, generation, nothing recorded) the new keys and values are appended to layer
// `layer` of the cache and the queries see all of it; the caller advances cache->length after the last layer.
Tensor attention(const Tensor& qkv, const Layout& layout, const AttentionShape& shape, int layer);

}   // namespace trainer
