#pragma once

#include <cstdint>
#include <string>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// A raw matrix: element (i, j) stands at data[i * stride + j].
struct MatrixView {
    void* data;
    DType dtype;
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t stride;
};

// c (M, N) = [c +] op(a) (M, K) · op(b) (K, N), where op transposes when asked: a is then stored (K, M), b (N, K).
// a and b: both f32 or both bf16; c: f32 or bf16; on a device f16 in bf16's place. Rows may be strided. Accumulation in
// f32; with `accumulate` the old c is added in f32 before the one rounding. The result does not depend on the number of
// threads: the product is cut into tiles by its shape alone and each tile is computed by one thread.
void gemm(Cpu, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate);
void gemm(Cpu, const MatrixView& c, const MatrixView& a, bool transpose_a, const MatrixView& b, bool transpose_b,
          bool accumulate);
// The same where the tensors live. On meta it takes and gives back the memory that the product needs meanwhile.
void product(Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate);
// c = a · bᵀ + bias (columns of c, in its dtype), rounded once. False, and nothing is done, where no library does that
// for sure: not on a device, or rows and bias not in pieces of 16 bytes.
bool product_with_bias(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias);

// What computes the tiles, with all that their bits depend on: "oneDNN 2.6.3 with instruction set 0x7ef".
std::string gemm_library();

// The readable twin: three loops, f32 sums in index order; of f16 too, which a GPU multiplies.
void gemm_reference(Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate);

}   // namespace trainer
