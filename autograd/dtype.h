#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "autograd/cuda/ptx.h"

namespace trainer {

// Element types of tensors in memory. Files know more (hub/safetensors.h); they are converted on the way in.
enum class DType : std::uint8_t { f32, bf16, f16, i32, u8, u64 };

constexpr std::size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return 4;
        case DType::bf16:
            return 2;
        case DType::f16:
            return 2;
        case DType::i32:
            return 4;
        case DType::u8:
            return 1;
        case DType::u64:
            return 8;
    }
    return 0;
}

constexpr std::string_view name_of(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return "f32";
        case DType::bf16:
            return "bf16";
        case DType::f16:
            return "f16";
        case DType::i32:
            return "i32";
        case DType::u8:
            return "u8";
        case DType::u64:
            return "u64";
    }
    return "";
}

// bfloat16: the upper half of a float. Conversion from float rounds to nearest even; NaN stays NaN.
struct bf16 {
    std::uint16_t bits = 0;
    bf16() = default;
    constexpr explicit bf16(float value) {
        const auto word = std::bit_cast<std::uint32_t>(value);
        if ((word & 0x7FFFFFFFu) > 0x7F800000u) {
            bits = static_cast<std::uint16_t>((word >> 16) | 0x40u);
        } else {
            bits = static_cast<std::uint16_t>((word + 0x7FFFu + ((word >> 16) & 1u)) >> 16);
        }
    }
    constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

// IEEE half precision.
constexpr float f16_to_float(std::uint16_t bits) {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1Fu;
    const std::uint32_t fraction = bits & 0x3FFu;
    if (exponent == 0) {   // zero or subnormal: fraction · 2^-24
        const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (fraction << 13));
    return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (fraction << 13));
}

// The same without branches.
constexpr float half_to_float(std::uint16_t bits) {
#ifdef __CUDA_ARCH__
    if (!std::is_constant_evaluated()) return cuda::half_value(bits);
#endif
    const std::uint32_t magnitude = bits & 0x7FFFu;
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;   // moves the exponent's bias
    const std::uint32_t special = magnitude >= 0x7C00u ? 0x7F800000u : 0u;   // infinity and NaN
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | special | sign);
}

constexpr std::uint16_t float_to_f16(float value) {   // to nearest even
#ifdef __CUDA_ARCH__
    if (!std::is_constant_evaluated()) return cuda::half_bits(value);
#endif
    const auto word = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((word >> 16) & 0x8000u);
    const std::uint32_t magnitude = word & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u);
    if (magnitude >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);   // rounds past 65504
    if (magnitude < 0x38800000u) {   // subnormal in half: adding 0.5 places the bits and rounds
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000u));
    }
    const std::uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - 0x38000000u;
    return static_cast<std::uint16_t>(sign | (rounded >> 13));
}

// IEEE half precision as a type like bf16. What is beyond 65504 by half a unit or more becomes infinite.
struct f16 {
    std::uint16_t bits = 0;
    f16() = default;
    constexpr explicit f16(float value) : bits(float_to_f16(value)) {}
    constexpr explicit operator float() const { return half_to_float(bits); }
};

// `value` rounded to a float dtype and back.
constexpr float rounded_to(DType dtype, float value) {
    switch (dtype) {
        case DType::bf16:
            return static_cast<float>(bf16(value));
        case DType::f16:
            return static_cast<float>(f16(value));
        default:
            return value;
    }
}

}   // namespace trainer
