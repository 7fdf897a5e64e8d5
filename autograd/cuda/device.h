#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "autograd/cuda/launch.h"
#include "autograd/dtype.h"
#include "autograd/tensor.h"
#include "configs/error.h"

// What the kernels of .cu files are made of.
namespace trainer::cuda {

inline constexpr int warp_size = 32;
inline constexpr unsigned all_lanes = 0xFFFFFFFFu;

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(bf16 value) { return static_cast<float>(value); }
__device__ inline float to_float(f16 value) { return static_cast<float>(value); }

// Elements that are read and written at once; their address must be a multiple of their size.
template <typename Element, int width>
struct alignas(width * sizeof(Element)) Pack {
    Element elements[width];
};

template <int width, typename Element>
__device__ Pack<Element, width> load(const Element* from) {
    return *reinterpret_cast<const Pack<Element, width>*>(from);
}
template <int width, typename Element>
__device__ void store(Element* to, const Pack<Element, width>& values) {
    *reinterpret_cast<Pack<Element, width>*>(to) = values;
}

// The sum of the warp's values, in every lane; always in the same order.
__device__ inline float warp_sum(float value) {
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}
__device__ inline double warp_sum(double value) {
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(all_lanes, value, distance);
    return value;
}
__device__ inline float warp_max(float value) {
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(all_lanes, value, distance));
    return value;
}

// The sum of the block's values, in every thread. `scratch`: shared memory for a value per warp, which nobody else
// uses.
template <typename Number>
__device__ Number block_sum(Number value, Number* scratch) {
    value = warp_sum(value);
    const int warps = static_cast<int>(blockDim.x) / warp_size;
    __syncthreads();   // scratch may still be read from the time before
    if (threadIdx.x % warp_size == 0) scratch[threadIdx.x / warp_size] = value;
    __syncthreads();
    Number sum = 0;
    for (int warp = 0; warp < warps; ++warp) sum += scratch[warp];
    return sum;
}
__device__ inline float block_max(float value, float* scratch) {
    value = warp_max(value);
    const int warps = static_cast<int>(blockDim.x) / warp_size;
    __syncthreads();
    if (threadIdx.x % warp_size == 0) scratch[threadIdx.x / warp_size] = value;
    __syncthreads();
    float largest = scratch[0];
    for (int warp = 1; warp < warps; ++warp) largest = fmaxf(largest, scratch[warp]);
    return largest;
}

// Blocks of `threads` for one thread an element.
constexpr std::int64_t blocks_for(std::int64_t elements, int threads) { return (elements + threads - 1) / threads; }

// The number of this thread among all of the grid's x, and how many there are.
__device__ inline std::int64_t grid_thread() {
    return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline std::int64_t grid_threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

// Rows of elements, `stride` elements apart.
template <typename Element>
struct Rows {
    Element* data;
    std::int64_t stride;
    __device__ Element* row(std::int64_t index) const { return data + index * stride; }
};
template <typename Element>
Rows<Element> rows_of(const Tensor& tensor) {
    if (!tensor.defined()) return {nullptr, 0};
    return {tensor.data<std::remove_const_t<Element>>(), tensor.stride()};
}

// Whether the rows of all tensors (those that are defined) can be read 16 bytes at a time.
inline bool in_packs(std::initializer_list<const Tensor*> tensors) {
    for (const Tensor* tensor : tensors) {
        if (!tensor->defined()) continue;
        const std::size_t size = size_of(tensor->dtype());
        const bool rows_aligned = tensor->rows() <= 1 || static_cast<std::size_t>(tensor->stride()) * size % 16 == 0;
        if (static_cast<std::size_t>(tensor->columns()) * size % 16 != 0 || !rows_aligned ||
            reinterpret_cast<std::uintptr_t>(tensor->raw()) % 16 != 0)
            return false;
    }
    return true;
}

// A block of the grid's x for every row, in y as many as its packs of `width` columns need: a thread has the pack
// `column_of_thread` of row blockIdx.x.
inline Grid row_grid(const Tensor& tensor, int width) {
    constexpr int threads = 256;
    return {.blocks = tensor.rows(),
            .threads = threads,
            .blocks_y = blocks_for((tensor.columns() + width - 1) / width, threads)};
}
__device__ inline std::int64_t column_of_thread() {
    return static_cast<std::int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
}

// Calls work(Element{}) with the type of a tensor's numbers: f32, bf16 or f16.
template <typename Work>
void with_element(DType dtype, Work&& work) {
    switch (dtype) {
        case DType::f32:
            return work(float{});
        case DType::bf16:
            return work(bf16{});
        case DType::f16:
            return work(f16{});
        default:
            check(false, "cuda: no kernel for {}", name_of(dtype));
    }
}

// Calls work(A{}, B{}) with the types of two tensors' numbers, of which bf16 and f16 never meet.
template <typename Work>
void with_elements(DType a, DType b, Work&& work) {
    with_element(a, [&](auto first) {
        with_element(b, [&](auto second) {
            using A = decltype(first);
            using B = decltype(second);
            if constexpr (std::is_same_v<A, B> || std::is_same_v<A, float> || std::is_same_v<B, float>)
                work(first, second);
            else
                check(false, "cuda: no kernel for {} and {}", name_of(a), name_of(b));
        });
    });
}

template <int size>
using Width = std::integral_constant<int, size>;

// Calls work(Element{}, Width<w>{}), where w elements are 16 bytes, or, if not `packs`, one.
template <typename Work>
void with_width(DType dtype, bool packs, Work&& work) {
    with_element(dtype, [&](auto element) {
        if (packs)
            work(element, Width<16 / sizeof(element)>{});
        else
            work(element, Width<1>{});
    });
}

// The same; w elements are read at once where the tensors' rows allow it.
template <typename Work>
void with_packs(DType dtype, std::initializer_list<const Tensor*> tensors, Work&& work) {
    with_width(dtype, in_packs(tensors), work);
}

}   // namespace trainer::cuda
