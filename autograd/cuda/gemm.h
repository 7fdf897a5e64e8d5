#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// The product of autograd/cpu/gemm.h by cuBLASLt, which is opened at the first call: sums in f32, one rounding, in an
// order that depends on the shapes and the library alone. The sums are multiplied by `scale` before they are rounded or
// added to the old c. `bias` (columns of c, in c's dtype, at a multiple of 16 bytes) is added to every row before they
// are rounded, and nothing is accumulated then. Error(system) when the library is not there.
void gemm(Cuda, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate,
          float scale = 1, const Tensor& bias = {});

namespace cuda {

// Scratch memory that products may use, taken at the first one.
inline constexpr std::size_t gemm_workspace_bytes = std::size_t{32} << 20;

// How many problems are tried at most, so that shapes which never come again do not cost more than they give.
inline constexpr int gemm_trials = 64;

// What products may do besides. Bits depend on it.
struct GemmOptions {
    bool tf32 = false;    // f32 products of numbers that are rounded to tf32: 10 bits of fraction; sums stay f32
    bool timed = false;   // the fastest of the 16 algorithms that the library proposes, by trial; else the first
    std::map<std::string, int> choices = {};   // what was the fastest before, by problem
    // Is told of every trial.
    std::function<void(const std::string& problem, int choice)> chosen = nullptr;
};
// For all products from here on.
void set_gemm_options(GemmOptions options);

// "cuBLASLt 13.1.0".
std::string gemm_library();
// What bits of products depend on, in words: the library, and options that are not the usual ones.
std::string gemm_numerics();

}   // namespace cuda

}   // namespace trainer
