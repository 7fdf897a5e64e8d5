#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#include "autograd/cpu/isa.h"
#include "autograd/random.h"
#include "autograd/tensor.h"

namespace trainer {

// Rounds f32 to one of the two neighbouring bf16 numbers, away from zero with a probability that is the share of the
// way to that one, so that the mean of what is stored is the f32 number. `noise`: 16 random bits. What bf16 holds
// stays. A finite number beyond the largest finite one of bf16 becomes that one; infinity stays, and so does NaN.
constexpr bf16 rounded_stochastically(float value, std::uint32_t noise) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t size = word & 0x7FFFFFFFu;
    std::uint32_t bits = (size + (noise & 0xFFFFu)) >> 16;
    if (size > 0x7F800000u)
        bits = (size >> 16) | 0x40u;
    else if (size < 0x7F800000u && bits > 0x7F7Fu)
        bits = 0x7F7Fu;
    bf16 out;
    out.bits = static_cast<std::uint16_t>(bits | ((word >> 16) & 0x8000u));
    return out;
}

// What all noise of a parameter at an update comes from.
inline std::uint64_t rounding_key(std::uint64_t seed, std::int64_t step, std::string_view parameter) {
    return random_key(seed, site_key(parameter, "stochastic_rounding"), step);
}

// Element i of the parameter has bits 16·(i mod 2) and up of word (i mod 8) / 2 of philox(key, {i / 8}), the words of
// its block.
constexpr std::array<std::uint32_t, 4> rounding_words(std::uint64_t key, std::uint64_t block) {
    return philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0});
}
constexpr std::uint32_t rounding_noise(const std::array<std::uint32_t, 4>& words, std::uint64_t element) {
    return words[element % 8 / 2] >> (element % 2 * 16);
}

// `from`, one-dimensional f32, are the elements from `first`, a multiple of 8, on; `to`, one-dimensional bf16, gets
// them.
void round_stochastically(std::uint64_t key, std::int64_t first, const Tensor& from, Tensor& to);

// The same of numbers in memory.
TRAINER_VARIANTS(void round_stochastically_elements(std::uint64_t key, std::int64_t first, const float* from, bf16* to,
                                                    std::int64_t elements))

}   // namespace trainer
