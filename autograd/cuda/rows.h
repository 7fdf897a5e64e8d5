#pragma once

#include <vector>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// The twins of autograd/cpu/rows.h.
void copy_rows(Cuda, const Tensor& in, Tensor& out);
void add_rows(Cuda, Tensor& sum, const Tensor& term);
void fill_rows(Cuda, Tensor& out, float value);
void scale_rows(Cuda, Tensor& values, float factor);
void scale_rows(Cuda, Tensor& values, const Tensor& factor);
void sum_rows(Cuda, const Tensor& a, const Tensor& b, Tensor& out);

// out[i] = in[i], in few launches. in: f32, out: all of one dtype; contiguous, at multiples of 16 bytes.
void convert_all(Cuda, const std::vector<Tensor>& in, const std::vector<Tensor>& out);

}   // namespace trainer
