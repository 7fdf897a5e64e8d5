#pragma once

#include "autograd/ops/composed_update.h"
#include "autograd/place.h"

namespace trainer {

// What the twins in composed_update.cpp do.
void compose(Cuda, Composition how, const Tensor& first, const Tensor& second, float scale, Tensor& out);
void first_gradient(Cuda, const Tensor& change, const Tensor& second, Tensor& out);
void second_gradient(Cuda, const Tensor& change, const Tensor& first, Tensor& out);

}   // namespace trainer
