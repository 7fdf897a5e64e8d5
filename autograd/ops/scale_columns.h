#pragma once

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// y (N, C) = x (N, C) ⊙ scale / divisor + bias, in x's dtype, arithmetic in f32. `scale` holds C elements in any shape;
// `divisor` (C) f32 is a constant for the gradient (undefined: 1); `bias` (C) or null. Gradients of scale and bias are
// summed over rows in blocks of 256, then over the blocks, in order.
Tensor scale_columns(const Tensor& x, Parameter& scale, const Tensor& divisor = {}, Parameter* bias = nullptr);

}   // namespace trainer
