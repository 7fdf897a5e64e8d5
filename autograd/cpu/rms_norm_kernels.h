#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// One row of `count` elements; all but the statistics are of one type.
struct RmsNormForwardRow {
    const void* x;
    const void* residual;   // null: no addition
    const void* weight;
    void* sum;   // x + residual; null without a residual
    void* y;
    float* rstd;   // one value
    float eps;
};
TRAINER_VARIANTS(void rms_norm_forward_row(const RmsNormForwardRow& row, DType type, std::int64_t count))

struct RmsNormBackwardRow {
    const void* x;   // what was normalised
    const void* weight;
    const void* dy;
    const void* dsum;   // added to dx; null: nothing
    void* dx;           // may be dy or dsum; null: not wanted
    float* dweight;     // += dy ⊙ normalised x; null: not wanted
    float rstd;
};
TRAINER_VARIANTS(void rms_norm_backward_row(const RmsNormBackwardRow& row, DType type, std::int64_t count))

}   // namespace trainer
