#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "autograd/cuda/launch.h"

// Included before every .cu file when the host's compiler compiles it: what nvcc knows by itself, done by the emulator.
// Its blocks run one after the other on a thread, the threads of a block are fibers that change places at barriers and
// warp operations only, in an order that can be chosen (emulator.h).
namespace trainer::emulator {

struct Index {
    unsigned x = 0;
    unsigned y = 0;
    unsigned z = 0;
};

struct Position {
    Index thread;
    Index block;
    Index block_size;
    Index grid_size;
};
Position& position();   // of the fiber that runs
std::byte* shared_memory();

void run(const char* kernel, Index blocks, unsigned threads, std::size_t shared_bytes,
         const std::function<void()>& body);

void wait_for_block();
// Waits for the lanes of `mask`; each gives 8 bytes, and `read` gets those of any of them.
struct WarpValues {
    std::uint64_t values[32];
};
const WarpValues& exchange(unsigned mask, std::uint64_t value);

template <typename Value>
Value shuffled(unsigned mask, Value value, unsigned source) {
    static_assert(sizeof(Value) <= 8);
    std::uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    const std::uint64_t found = exchange(mask, word).values[source];
    std::memcpy(&value, &found, sizeof value);
    return value;
}
inline unsigned lane() { return position().thread.x % 32; }

}   // namespace trainer::emulator

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __grid_constant__
#define __launch_bounds__(...)
#define threadIdx (::trainer::emulator::position().thread)
#define blockIdx (::trainer::emulator::position().block)
#define blockDim (::trainer::emulator::position().block_size)
#define gridDim (::trainer::emulator::position().grid_size)

inline void __syncthreads() { ::trainer::emulator::wait_for_block(); }
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { ::trainer::emulator::exchange(mask, 0); }

template <typename Value>
Value __shfl_xor_sync(unsigned mask, Value value, int distance) {
    return ::trainer::emulator::shuffled(mask, value, ::trainer::emulator::lane() ^ static_cast<unsigned>(distance));
}
template <typename Value>
Value __shfl_sync(unsigned mask, Value value, int source) {
    return ::trainer::emulator::shuffled(mask, value, static_cast<unsigned>(source) % 32);
}
template <typename Value>
Value __shfl_up_sync(unsigned mask, Value value, unsigned distance) {
    const unsigned lane = ::trainer::emulator::lane();
    return ::trainer::emulator::shuffled(mask, value, lane < distance ? lane : lane - distance);
}
template <typename Value>
Value __shfl_down_sync(unsigned mask, Value value, unsigned distance) {
    const unsigned lane = ::trainer::emulator::lane();
    return ::trainer::emulator::shuffled(mask, value, lane + distance > 31 ? lane : lane + distance);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
    const auto& all = ::trainer::emulator::exchange(mask, predicate ? 1 : 0);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        if ((mask >> lane & 1u) && all.values[lane]) votes |= 1u << lane;
    return votes;
}
inline int __popc(unsigned word) { return __builtin_popcount(word); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

namespace trainer::cuda {

template <typename... Parameters, typename... Arguments>
void launch(Cuda, const Grid& grid, void (*kernel)(Parameters...), Arguments... arguments) {
    if (grid.blocks == 0 || grid.blocks_y == 0) return;
    emulator::run(__PRETTY_FUNCTION__, {static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y), 1},
                  static_cast<unsigned>(grid.threads), grid.shared_bytes,
                  [&] { kernel(static_cast<Parameters>(arguments)...); });
}

template <typename Element>
Element* shared_memory() {
    return reinterpret_cast<Element*>(emulator::shared_memory());
}

}   // namespace trainer::cuda

#include "tests/support/cuda_emulator/ptx.h"
