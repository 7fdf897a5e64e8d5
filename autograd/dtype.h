#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

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

// IEEE half precision, for reading and writing files.
float f16_to_float(std::uint16_t bits);
std::uint16_t float_to_f16(float value);   // to nearest even

// `value` rounded to a float dtype and back.
inline float rounded_to(DType dtype, float value) {
    switch (dtype) {
        case DType::bf16:
            return static_cast<float>(bf16(value));
        case DType::f16:
            return f16_to_float(float_to_f16(value));
        default:
            return value;
    }
}

// Half precision → f32, exact, without branches (f16_to_float is its plain twin).
inline float half_to_float(std::uint16_t bits) {
    const std::uint32_t magnitude = bits & 0x7FFFu;
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;   // moves the exponent's bias
    const std::uint32_t special = magnitude >= 0x7C00u ? 0x7F800000u : 0u;   // infinity and NaN
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | special | sign);
}

}   // namespace trainer
