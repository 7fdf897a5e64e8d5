#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace trainer {

// The 8-bit "dynamic" code of Dettmers et al. (2021), "8-bit optimizers via block-wise quantization": 256 values in
// ascending order, dense around zero. Signed for first moments and for the scales of 4-bit weights (no −1, index 127
// is 0); unsigned for second moments.
using DynamicMap = std::array<float, 256>;
const DynamicMap& signed_dynamic_map();
const DynamicMap& unsigned_dynamic_map();

// Index of the entry nearest to `value`; of two equally near ones the lower.
std::uint8_t nearest_code(const DynamicMap& map, float value);

// Blocks of `block` values share the largest magnitude: codes[i] = nearest(values[i] · (1/absmax)), all 0 where a block
// is all zero. Sizes: codes as values, absmax one a block.
void quantise_blockwise(const DynamicMap& map, std::span<const float> values, std::int64_t block,
                        std::span<std::uint8_t> codes, std::span<float> absmax);

}   // namespace trainer
