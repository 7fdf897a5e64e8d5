#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/quant/dynamic_map.h"
#include "optim/adamw_step.h"

namespace trainer {

inline constexpr std::int64_t state_block = 256;   // elements that share a scale

// A block of a state tensor: value = map[code] · scale, scale being the largest size in the block.
struct CodedBlock {
    const DynamicCodes& codes;
    std::uint8_t* code;
    float* scale;
};

// One update of `count` ≤ state_block elements; `gradient` null for zero.
TRAINER_VARIANTS(void adamw_8bit_block(const AdamWConstants& step, const float* gradient, float* value,
                                       const CodedBlock& mean, const CodedBlock& square, std::int64_t count))

}   // namespace trainer
