#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "autograd/cuda/device.h"
#include "optim/elements_cuda.h"
#include "optim/stochastic_rounding.h"

// How the kernels of update rules read and write values and what goes with them.
namespace trainer::cuda {

template <int width>
struct Numbers {
    float at[width];
};

// 16 bytes at once, or all that there are.
template <int width, typename Element>
__device__ Numbers<width> read(const Element* from) {
    constexpr int at_once = std::min(width, static_cast<int>(16 / sizeof(Element)));
    Numbers<width> out;
    for (int begin = 0; begin < width; begin += at_once) {
        const auto pack = load<at_once>(from + begin);
        for (int i = 0; i < at_once; ++i) out.at[begin + i] = to_float(pack.elements[i]);
    }
    return out;
}

template <int width>
__device__ void write(const Numbers<width>& numbers, float* to) {
    constexpr int at_once = std::min(width, 4);
    for (int begin = 0; begin < width; begin += at_once) {
        Pack<float, at_once> pack;
        for (int i = 0; i < at_once; ++i) pack.elements[i] = numbers.at[begin + i];
        store<at_once>(to + begin, pack);
    }
}

// Values, of which the first is element `begin` of those that the rounding is for; widths are divisors of 8.
template <int width>
__device__ void write(const Numbers<width>& numbers, float* to, const Rounding&, std::int64_t) {
    write(numbers, to);
}
template <int width>
__device__ void write(const Numbers<width>& numbers, bf16* to, const Rounding& rounding, std::int64_t begin) {
    const auto first = static_cast<std::uint64_t>(rounding.first + begin);
    const auto words = rounding_words(rounding.key, first / 8);
    Pack<bf16, width> pack;
    for (int i = 0; i < width; ++i)
        pack.elements[i] =
            rounded_stochastically(numbers.at[i], rounding_noise(words, first + static_cast<unsigned>(i)));
    store<width>(to, pack);
}

// Whether all tensors (those that are defined) begin at a multiple of 16 bytes.
inline bool begin_at_packs(const std::vector<const Tensor*>& tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) {
        return !tensor->defined() || reinterpret_cast<std::uintptr_t>(tensor->raw()) % 16 == 0;
    });
}

// Calls work(Value{}, Width<w>{}) for values of that type, f32 or bf16, w of them 16 bytes or, if not `packs`, one.
template <typename Work>
void with_value_width(DType dtype, bool packs, Work&& work) {
    with_width(dtype, packs, [&](auto value, auto width) {
        if constexpr (std::is_same_v<decltype(value), f16>)
            check(false, "cuda: values in {}", name_of(dtype));
        else
            work(value, width);
    });
}

// The same; w values are read at once where the tensors begin so.
template <typename Work>
void with_value_packs(DType dtype, const std::vector<const Tensor*>& tensors, Work&& work) {
    with_value_width(dtype, begin_at_packs(tensors), work);
}

}   // namespace trainer::cuda
