#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/quant/block_format.h"

// Values of compressed weights in f32; the same bits in every variant.
namespace trainer {

// `count` elements, whole blocks
TRAINER_VARIANTS(void decode_block_run(BlockFormat format, const std::byte* in, std::int64_t count, float* out))
// code · absmax / 127
TRAINER_VARIANTS(void decode_int8(const std::int8_t* codes, std::int64_t count, float absmax, float* out))

// E4M3 code · scale; the codes 7F and FF are NaN
TRAINER_VARIANTS(void decode_fp8(const std::uint8_t* codes, std::int64_t count, float scale, float* out))

}   // namespace trainer
