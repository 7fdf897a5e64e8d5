#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

// Sums on a GPU in double. Such numbers are kept in tensors of u64, of one element each.
namespace trainer {

// Values, f32 and contiguous, or `elements` zeros.
struct GrainsOf {
    Tensor values;   // undefined: zeros
    std::int64_t elements;
};

// The sum of the squares of each grain, one tensor after another, with the bits of the CPU (optim/grain_sum.h). Grains
// are counted from the beginning of every tensor.
void squares_of_grains(Cuda, const std::vector<GrainsOf>& tensors, const Tensor& squares);

}   // namespace trainer
