#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Tensors that may be undefined: residual and sum; dsum, dx and block_sums (blocks of `block_rows` rows, C).
void rms_norm_forward(Cuda, const Tensor& x, const Tensor& residual, const Tensor& weight, float eps, Tensor& sum,
                      Tensor& y, Tensor& rstd);
void rms_norm_backward(Cuda, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dsum, Tensor& dx, Tensor& block_sums, std::int64_t block_rows);
// dweight (C) = the sum of the blocks, in their order.
void add_block_sums(Cuda, const Tensor& block_sums, Tensor& dweight);

}   // namespace trainer
