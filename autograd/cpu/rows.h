#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Element-wise work on 2-D tensors whose rows may be strided, f32 and bf16 mixed freely (arithmetic in f32).

void copy_rows(Cpu, const Tensor& in, Tensor& out);    // out = in
void add_rows(Cpu, Tensor& sum, const Tensor& term);   // sum += term
void scale_rows(Cpu, Tensor& values, float factor);    // values *= factor

}   // namespace trainer
