#pragma once

// Vectors of the widest registers of the instruction set this .simd.cpp is compiled for. Only for .simd.cpp files:
// everything stands in the namespace of the variant. Arithmetic, comparisons and ?: are those of GCC's vector
// extension.

#include <cstdint>

#include "autograd/dtype.h"

#if defined(__AVX512F__)
#define TRAINER_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define TRAINER_VECTOR_BYTES 32
#else
#define TRAINER_VECTOR_BYTES 16
#endif

namespace trainer::TRAINER_ISA {

inline constexpr int lanes = TRAINER_VECTOR_BYTES / 4;

using Floats = float __attribute__((vector_size(TRAINER_VECTOR_BYTES)));
using Words = std::uint32_t __attribute__((vector_size(TRAINER_VECTOR_BYTES)));
using Integers = std::int32_t __attribute__((vector_size(TRAINER_VECTOR_BYTES)));
using Longs = std::uint64_t __attribute__((vector_size(TRAINER_VECTOR_BYTES)));
using Halves = std::uint16_t __attribute__((vector_size(TRAINER_VECTOR_BYTES / 2)));

inline Floats floats(float value) { return value - Floats{}; }
inline Words words(std::uint32_t value) { return value - Words{}; }
inline Integers integers(std::int32_t value) { return value - Integers{}; }

// lanes numbers from memory, as f32.
inline Floats load(const float* from) {
    Floats out;
    __builtin_memcpy(&out, from, sizeof out);
    return out;
}
inline Floats load(const bf16* from) {
    Halves bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    return reinterpret_cast<Floats>(__builtin_convertvector(bits, Words) << 16);
}
inline void store(float* to, Floats values) { __builtin_memcpy(to, &values, sizeof values); }

// The upper halves after rounding to nearest even; NaN stays NaN.
inline Words rounded_bits(Floats values) {
    const Words word = reinterpret_cast<Words>(values);
    const Words rounded = (word + 0x7FFFu + ((word >> 16) & 1u)) >> 16;
    const Words quiet = (word >> 16) | 0x40u;
    return values == values ? rounded : quiet;
}
inline void store(bf16* to, Floats values) {
    const Halves bits = __builtin_convertvector(rounded_bits(values), Halves);
    __builtin_memcpy(static_cast<void*>(to), &bits, sizeof bits);
}

// The first `count` < lanes numbers only; the others are 0 and are not written.
template <typename Element>
inline Floats load_some(const Element* from, std::int64_t count) {
    unsigned char buffer[lanes * sizeof(Element)] = {};
    __builtin_memcpy(buffer, from, static_cast<unsigned long>(count) * sizeof(Element));
    return load(reinterpret_cast<const Element*>(buffer));
}
template <typename Element>
inline void store_some(Element* to, Floats values, std::int64_t count) {
    unsigned char buffer[lanes * sizeof(Element)];
    store(reinterpret_cast<Element*>(buffer), values);
    __builtin_memcpy(static_cast<void*>(to), buffer, static_cast<unsigned long>(count) * sizeof(Element));
}

// The values as they would read back from memory of this element type.
inline Floats rounded_as(const float*, Floats values) { return values; }
inline Floats rounded_as(const bf16*, Floats values) { return reinterpret_cast<Floats>(rounded_bits(values) << 16); }

// Sum in a fixed order: halves are folded onto each other.
inline float sum_of(Floats values) {
    float parts[lanes];
    store(parts, values);
    for (int width = lanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
    return parts[0];
}
inline float max_of(Floats values) {
    float parts[lanes];
    store(parts, values);
    for (int width = lanes / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) parts[i] = parts[i] > parts[i + width] ? parts[i] : parts[i + width];
    return parts[0];
}

// e^x to 2 units in the last place; 0 below -103.97 (with subnormal results before), infinity above 88.72, NaN for NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial; 2^n is applied in two steps so that both ends
// of the range come out right.
inline Floats exp(Floats x) {
    constexpr float log2_e = 0x1.715476p+0f;
    constexpr float ln2_high = 0x1.62e400p-1f;   // 14 bits: n times it is exact
    constexpr float ln2_low = 0x1.7f7d1cp-20f;
    constexpr float to_integer = 0x1.8p+23f;
    Floats bounded = x < 89.0f ? x : floats(89.0f);   // NaN becomes 89 here and is put back at the end
    bounded = bounded > -104.0f ? bounded : floats(-104.0f);
    const Floats shifted = bounded * log2_e + to_integer;
    const Floats n = shifted - to_integer;
    const Floats r = (bounded - n * ln2_high) - n * ln2_low;
    Floats sum = floats(0x1.a01a02p-13f);   // 1/7!
    sum = sum * r + 0x1.6c16c2p-10f;        // 1/6!
    sum = sum * r + 0x1.111112p-7f;         // 1/5!
    sum = sum * r + 0x1.555556p-5f;         // 1/4!
    sum = sum * r + 0x1.555556p-3f;         // 1/3!
    sum = sum * r + 0.5f;
    sum = (r * r) * sum + r + 1.0f;
    const Integers power = __builtin_convertvector(n, Integers);
    const Integers half = power >> 1;
    const Floats first = reinterpret_cast<Floats>((half + 127) << 23);
    const Floats second = reinterpret_cast<Floats>((power - half + 127) << 23);
    const Floats result = sum * first * second;
    return x == x ? result : x;
}

// 1 / (1 + e^-x)
inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

}   // namespace trainer::TRAINER_ISA
