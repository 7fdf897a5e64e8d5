#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

// One row each; gate, up and y have `count` elements of one type.
namespace trainer {

TRAINER_VARIANTS(void silu_mul_forward_row(const void* gate, const void* up, void* y, DType type, std::int64_t count))
// dgate and dup may be gate and up.
TRAINER_VARIANTS(void silu_mul_backward_row(const void* gate, const void* up, const void* dy, void* dgate, void* dup,
                                            DType type, std::int64_t count))

}   // namespace trainer
