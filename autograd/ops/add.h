#pragma once

#include "autograd/tensor.h"

namespace trainer {

// a + b, same shape and dtype.
Tensor add(const Tensor& a, const Tensor& b);
// a − b
Tensor subtract(const Tensor& a, const Tensor& b);

}   // namespace trainer
