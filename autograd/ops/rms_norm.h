#pragma once

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// y = w ⊙ cast(x · rsqrt(mean(x²) + eps)), statistics in f32 per row; x and y (N, C) in the same dtype, w (C).
// The normalised value is rounded to x's dtype before the multiplication, as transformers' Llama does.
Tensor rms_norm(const Tensor& x, Parameter& weight, float eps);

struct AddNorm {
    Tensor sum;    // x + residual, (N, C)
    Tensor norm;   // rms_norm(sum)
};
// The same with the residual addition in one pass.
AddNorm add_rms_norm(const Tensor& x, const Tensor& residual, Parameter& weight, float eps);

}   // namespace trainer
