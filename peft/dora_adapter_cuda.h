#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// What the twins in dora_adapter.cpp do.
void sum_squares(Cuda, const Tensor& weight, Tensor& squares);
void add_up(Cuda, const Tensor& squares, const Tensor& through, const Tensor& gram, const Tensor& b, float scale,
            Tensor& norms);

}   // namespace trainer
