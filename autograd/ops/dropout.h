#pragma once

#include <cstdint>

#include "autograd/layout.h"
#include "autograd/tensor.h"

namespace trainer {

// Element (n, c) of x (N, C) is kept, and scaled by 1/(1 - p), when uniform(word) >= p; else it is 0. With
// key = random_key(token key n, site) and counter = 16 (c / 64) + c mod 16,
//     word = philox(key, {counter, 0, 0, 0})[c mod 64 / 16],
// so that one draw of four words serves the columns c, c + 16, c + 32 and c + 48 of a run of 64.
// The mask depends on the token's key, the site and the column only: it survives packing and recomputation.
// p in [0, 1); p = 0 returns x itself.
Tensor dropout(const Tensor& x, float p, std::uint64_t site, const Layout& layout);

// The same on values, for fused ops: out = the masked and scaled in; f32 or bf16, rows may be strided, out may be in.
// token_keys (N) u64. Not recorded.
void apply_dropout(const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys);

}   // namespace trainer
