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
// share their upper 16 bits have one of two neighbouring codes, and their lower 16 bits decide.
struct DynamicCodes {
    explicit DynamicCodes(const DynamicMap& values);

    static constexpr std::int32_t first_key = 0x3380;   // upper half of 2^-24: what is smaller has the code of 0
    static constexpr std::int32_t last_key = 0x3f80;    // upper half of 1
    static constexpr std::int32_t keys = last_key - first_key + 1;

    DynamicMap map;
    std::uint8_t code_of_zero;
    // By key, first of positive numbers, then of negative: in the upper half the code of those with the smallest size,
    // in the lower half the lower bits of the largest size that has it; beyond, it is one more, or of negative numbers
    // less.
    std::array<std::int32_t, std::size_t{2} * keys> entries;
};
const DynamicCodes& signed_dynamic_codes();
const DynamicCodes& unsigned_dynamic_codes();

// The same code by searching, for any number.
std::uint8_t nearest_code(const DynamicMap& map, float value);

}   // namespace trainer
