#pragma once

#include "autograd/cuda/column_sums.h"
#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// factor (C) = scale / divisor; divisor undefined: 1. All f32.
void make_factor(Cuda, const Tensor& scale, const Tensor& divisor, Tensor& factor);
// out (N, C) = in ⊙ factor + bias; bias (C) undefined: 0
void multiply(Cuda, const Tensor& in, const Tensor& factor, const Tensor& bias, Tensor& out);

}   // namespace trainer
