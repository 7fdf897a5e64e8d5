#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// out[j] = Σ_k x[k] · rows[j][k] for j = 0 … count-1: rows of `depth` elements of `type`, `stride` elements apart;
// x in f32. Every dot product has one fixed order.
TRAINER_VARIANTS(void dot_rows(const float* x, const void* rows, DType type, std::int64_t stride, std::int64_t count,
                               std::int64_t depth, float* out))

}   // namespace trainer
