#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// out = in · scale where the upper 24 bits of the column's word are at least `threshold`, else 0. The words are those
// of ops/dropout.h under `key`. out may be in.
TRAINER_VARIANTS(void dropout_row(const void* in, void* out, DType type, std::int64_t count, std::uint64_t key,
                                  std::uint32_t threshold, float scale))

}   // namespace trainer
