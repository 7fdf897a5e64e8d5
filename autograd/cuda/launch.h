#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/place.h"

// The one way to start a kernel. Included by .cu files only, which nvcc compiles for the device and, for the tests, the
// host's compiler for the emulator (tests/support/cuda_emulator).
namespace trainer::cuda {

// Blocks and threads of a launch. Kernels read shared memory by `shared_memory` alone.
struct Grid {
    std::int64_t blocks = 0;   // nothing runs when there is none
    int threads = 256;         // a multiple of 32
    std::size_t shared_bytes = 0;
    std::int64_t blocks_y = 1;
};

}   // namespace trainer::cuda

#ifdef __CUDACC__

#include <cuda_runtime.h>

namespace trainer::cuda {

// Error(system) that names the kernel when the launch failed.
void check_launch(const void* kernel);
// Lets the kernel have more shared memory than every kernel may have.
void allow_shared_bytes(const void* kernel, std::size_t bytes);
void* stream();

// kernel<<<grid>>>(arguments…) on the device's stream.
template <typename... Parameters, typename... Arguments>
void launch(Cuda, const Grid& grid, void (*kernel)(Parameters...), Arguments... arguments) {
    if (grid.blocks == 0 || grid.blocks_y == 0) return;
    constexpr std::size_t always_allowed = 48 << 10;
    const auto* address = reinterpret_cast<const void*>(kernel);
    if (grid.shared_bytes > always_allowed) allow_shared_bytes(address, grid.shared_bytes);
    const dim3 blocks(static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y));
    kernel<<<blocks, static_cast<unsigned>(grid.threads), grid.shared_bytes, static_cast<cudaStream_t>(stream())>>>(
        static_cast<Parameters>(arguments)...);
    check_launch(address);
}

// The block's shared memory: `Grid::shared_bytes` bytes, aligned to 16. Undefined at the beginning.
template <typename Element>
__device__ Element* shared_memory() {
    extern __shared__ __align__(16) unsigned char bytes[];
    return reinterpret_cast<Element*>(bytes);
}

}   // namespace trainer::cuda

#endif
