#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"
#include "comm/shard_layout.h"

// Sums on a GPU in double. Such numbers are kept in tensors of u64, of one element each.
namespace trainer {

// Grains of so many elements.
constexpr std::int64_t grains_in(std::int64_t elements) {
    return (elements + ShardLayout::grain_elements - 1) / ShardLayout::grain_elements;
}

// Values, f32 and contiguous, or `elements` zeros.
struct GrainsOf {
    Tensor values;   // undefined: zeros
    std::int64_t elements;
};

// The sum of the squares of each grain, one tensor after another, with the bits of the CPU (optim/grain_sum.h). Grains
// are counted from the beginning of every tensor.
void squares_of_grains(Cuda, const std::vector<GrainsOf>& tensors, const Tensor& squares);

}   // namespace trainer
