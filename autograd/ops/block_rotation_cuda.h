#pragma once

#include <cstdint>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Matrices of one shape that make up a tensor: `step` of its rows each, or of its columns.
struct MatrixRow {
    Tensor all;
    std::int64_t step;
    bool across;   // beside each other
};

// Each of `count` matrices, f32, c = [c +] op(a) op(b), op transposing when asked; sums run along the inner side.
void block_products(Cuda, std::int64_t count, const MatrixRow& c, const MatrixRow& a, bool transpose_a,
                    const MatrixRow& b, bool transpose_b, bool accumulate);

// What the twins in block_rotation.cpp do.
void set_identity(Cuda, Tensor& out, float factor);
void set_scaled(Cuda, Tensor& out, const Tensor& in, float factor);
void set_skew(Cuda, Tensor& out, const Tensor& upper);
void add_skew(Cuda, const Tensor& change, Tensor& upper);

}   // namespace trainer
