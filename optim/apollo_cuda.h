#pragma once

#include <cstdint>

#include "autograd/tensor.h"

// Room for sums in tensors of u64: optim/grain_sum_cuda.h.
namespace trainer {

// Element i: deviation times number i mod 4 of normal(philox(key, {i / 4})).
void draw_normal(Cuda, std::uint64_t key, float deviation, const Tensor& out);

// Each row (of_rows) or column of the gradient is multiplied by ‖N‖ / ‖R‖ of the same row or column; `factors`: as many
// f32.
void scale_channels(Cuda, const Tensor& normed, const Tensor& projected, bool of_rows, const Tensor& factors,
                    const Tensor& gradient);
// The whole gradient; `sums`: the grains of both, `factor`: one f32.
void scale_matrix(Cuda, const Tensor& normed, const Tensor& projected, const Tensor& sums, const Tensor& factor,
                  const Tensor& gradient);
// U ← U / max(1, ‖U‖ / (growth · before)); before ← ‖U‖. `sums`: the grains of U, `limiter`: one f32.
void limit_growth(Cuda, float growth, const Tensor& sums, const Tensor& limiter, const Tensor& before,
                  const Tensor& update);

}   // namespace trainer
