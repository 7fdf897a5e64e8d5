#pragma once

#include <cstddef>
#include <string>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// The product of autograd/cpu/gemm.h by cuBLASLt, which is opened at the first call: sums in f32, one rounding, in an
// order that depends on the shapes and the library alone. The sums are multiplied by `scale` before they are rounded or
// added to the old c. Error(system) when the library is not there.
void gemm(Cuda, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate,
          float scale = 1);

namespace cuda {

// Scratch memory that products may use, taken at the first one.
inline constexpr std::size_t gemm_workspace_bytes = std::size_t{32} << 20;

// "cuBLASLt 13.1.0".
std::string gemm_library();

}   // namespace cuda

}   // namespace trainer
