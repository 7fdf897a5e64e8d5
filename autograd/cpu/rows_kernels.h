#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

// One row each, of `count` elements.
namespace trainer {

// f32 to bf16 or the other way, by the type of `in`
TRAINER_VARIANTS(void convert_row(const void* in, DType in_type, void* out, std::int64_t count))
TRAINER_VARIANTS(void add_row(void* sum, DType sum_type, const void* term, DType term_type, std::int64_t count))
TRAINER_VARIANTS(void scale_row(void* values, DType type, float factor, std::int64_t count))
// out = a + b, all of one type
TRAINER_VARIANTS(void sum_row(const void* a, const void* b, void* out, DType type, std::int64_t count))

}   // namespace trainer
