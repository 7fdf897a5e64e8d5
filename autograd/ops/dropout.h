#pragma once

#include <cstdint>

#include "autograd/layout.h"
#include "autograd/tensor.h"

namespace trainer {

// Element (n, c) is kept, and scaled by 1/(1 - p), when uniform(philox(token key n ^ site, c)) >= p; else 0.
// The mask depends on the token's key, the site and the column only, so it survives packing and recomputation.
Tensor dropout(const Tensor& x, float p, std::uint64_t site, const Layout& layout);

// The same on raw values, for fused ops: out = the masked and scaled in. Not recorded.
void apply_dropout(const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys);

}   // namespace trainer
