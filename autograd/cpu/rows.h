#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Element-wise work on tensors whose rows may be strided, f32 and bf16 mixed freely (arithmetic in f32). Shapes agree.

void copy_rows(Cpu, const Tensor& in, Tensor& out);                  // out = in; any dtype to itself too
void add_rows(Cpu, Tensor& sum, const Tensor& term);                 // sum += term
void fill_rows(Cpu, Tensor& out, float value);                       // out = value, f32
void scale_rows(Cpu, Tensor& values, float factor);                  // values *= factor
void scale_rows(Cpu, Tensor& values, const Tensor& factor);          // a number there
void sum_rows(Cpu, const Tensor& a, const Tensor& b, Tensor& out);   // out = a + b, one dtype

// The first element of a row.
std::byte* row_of(const Tensor& tensor, std::int64_t row);

}   // namespace trainer
