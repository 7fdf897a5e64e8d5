#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// out row i = in row rows[i] (i32); any dtype
void gather(Cuda, const Tensor& in, const Tensor& rows, Tensor& out);
// Of rows of logits (n, V) f32 with their targets (n) i32: sums (n, 3) f32 = loss, entropy, whether the target is the
// first of the largest; `gradient` (undefined: none is wanted) = unit · (softmax - onehot), may be `logits`; `unit` is
// a power of two.
void softmax_rows(Cuda, Tensor& logits, const Tensor& targets, Tensor& gradient, Tensor& sums, float unit);
// loss, entropy, correct (1) f32 = the columns' sums, in order of the rows
void add_up_rows(Cuda, const Tensor& sums, Tensor& loss, Tensor& entropy, Tensor& correct);
// dx (N, C) = seed (1) · row source[n] (i32) of dhidden, 0 where that is negative
void scatter(Cuda, const Tensor& source, const Tensor& dhidden, const Tensor& seed, Tensor& dx);

}   // namespace trainer
