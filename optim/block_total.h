#pragma once

#include <cstdint>

#include "autograd/cuda/device.h"

// For kernels of one block that add up what others left.
namespace trainer::cuda {

inline constexpr int total_threads = 512;

inline Grid total_grid() {
    return {.blocks = 1, .threads = total_threads, .shared_bytes = total_threads / warp_size * sizeof(double)};
}

// The sum of `count` numbers, in every thread; always in the same order.
template <typename Number>
__device__ double block_total(const Number* numbers, std::int64_t count) {
    double own = 0;
    for (auto i = static_cast<std::int64_t>(threadIdx.x); i < count; i += blockDim.x)
        own += static_cast<double>(numbers[i]);
    return block_sum(own, shared_memory<double>());
}

inline double* doubles(const Tensor& numbers) { return reinterpret_cast<double*>(numbers.data<std::uint64_t>()); }

}   // namespace trainer::cuda
