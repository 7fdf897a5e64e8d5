#pragma once

#include <cstdint>
#include <vector>

#include "autograd/layout.h"
#include "autograd/tensor.h"

namespace trainer {

// Cosines and sines of the rotary embedding, (positions, D/2) f32 each, already multiplied by the attention scaling.
struct RopeTable {
    Tensor cosine;
    Tensor sine;
};

// Angles p · inverse_frequencies[j] for p = 0 … positions-1, computed in f32 as transformers does.
RopeTable make_rope_table(const std::vector<float>& inverse_frequencies, std::int64_t positions,
                          float attention_scaling, Place place);

// Rotates the first `heads` heads of width `head_dim` of each row ("rotate half": pairs j and j + D/2) by the angle of
// the token's position, in place: x is consumed and must be the sole owner of its storage. Columns beyond
// heads · head_dim pass through. The arithmetic is f32.
Tensor rope(Tensor x, const RopeTable& table, const Layout& layout, int heads, int head_dim);

}   // namespace trainer
