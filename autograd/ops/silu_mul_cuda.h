#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

void silu_mul_forward(Cuda, const Tensor& gate_up, Tensor& y);
void silu_mul_backward(Cuda, const Tensor& gate_up, const Tensor& dy, Tensor& dgate_up);   // may be over gate_up

}   // namespace trainer
