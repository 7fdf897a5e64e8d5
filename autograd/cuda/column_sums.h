#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// sum (C) f32 += Σ_n dy ⊙ x / divisor, over the rows of dy (N, C) in a fixed order; x, divisor (C) undefined: 1.
void add_column_sums(Cuda, const Tensor& dy, const Tensor& x, const Tensor& divisor, Tensor& sum);

}   // namespace trainer
