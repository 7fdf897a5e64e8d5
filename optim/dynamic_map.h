#pragma once

#include <array>
#include <cstdint>

namespace trainer {

// The dynamic 8-bit data types of bitsandbytes (Dettmers et al., "8-bit optimizers via block-wise quantization", 2022):
// 256 values from −1 or 0 to 1, ascending, dense near zero. Its create_dynamic_map has the same bits.
using DynamicMap = std::array<float, 256>;
const DynamicMap& signed_dynamic_map();     // code 127 is 0
const DynamicMap& unsigned_dynamic_map();   // code 0 is 0

// The nearest code of a number from −1 to 1 without a search; halfway between two values the lower one. Numbers that
// share their upper 16 bits have one of two neighbouring codes, and the midpoint between those decides.
struct DynamicCodes {
    explicit DynamicCodes(const DynamicMap& values);

    static constexpr std::int32_t first_key = 0x3380;   // upper half of 2^-24: what is smaller has the code of 0
    static constexpr std::int32_t last_key = 0x3f80;    // upper half of 1
    static constexpr std::int32_t keys = last_key - first_key + 1;

    DynamicMap map;
    std::uint8_t code_of_zero;
    std::array<float, 256> above;                            // midpoint to the next value; infinity for the last
    std::array<std::int32_t, std::size_t{2} * keys> lower;   // code by key, first of positive numbers, then of negative
};
const DynamicCodes& signed_dynamic_codes();
const DynamicCodes& unsigned_dynamic_codes();

}   // namespace trainer
