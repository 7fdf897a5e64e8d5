#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

void add_bias(Cuda, Tensor& y, const Tensor& bias);          // bias (C), y (N, C)
void add_column_sums(Cuda, const Tensor& dy, Tensor& sum);   // sum (C) f32 += columns of dy (N, C)
// to (N, ids) = factor · columns of `from` picked by ids i32; one dtype
void pick_columns(Cuda, const Tensor& from, const Tensor& ids, float factor, Tensor to);
void store_columns(Cuda, const Tensor& from, const Tensor& ids, Tensor& to);   // the other way, factor 1

}   // namespace trainer
