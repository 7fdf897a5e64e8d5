#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Row n of y (N, C) = row found[n] of rows, one dtype; where that is negative it stays. found (N) i32.
void copy_found(Cuda, const Tensor& found, const Tensor& rows, Tensor& y);
// Rows n of the gradient (N, C) with found[n] >= 0 become 0.
void clear_found(Cuda, const Tensor& found, Tensor& gradient);

}   // namespace trainer
