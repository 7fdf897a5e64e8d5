#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// Turns `heads` heads of one row in place: with c and s of length head_dim / 2,
//     x[j] ← x[j] c[j] - x[j + D/2] s[j],   x[j + D/2] ← x[j + D/2] c[j] + x[j] s[j];  `inverse` turns back.
TRAINER_VARIANTS(void rope_row(void* row, DType dtype, int heads, int head_dim, const float* cosine, const float* sine,
                               bool inverse))

}   // namespace trainer
