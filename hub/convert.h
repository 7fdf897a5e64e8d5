#pragma once

#include <cstddef>
#include <cstdint>

#include "autograd/dtype.h"
#include "hub/safetensors.h"

namespace trainer {

// Bulk conversion between element types of files and of memory, one thread, any alignment of the file's side.

// File → f32, bf16 or f16. Known: F32, F16, BF16, F64, integers and BOOL. bf16 and f16 are rounded to nearest even from
// the f32 value. False, and nothing written, when there is no conversion.
bool convert_from_file(FileDType from, const std::byte* in, std::int64_t count, DType target, void* out);
bool can_convert(FileDType from);

// f32 values → F32, F16 or BF16 of a file, to nearest even. `out` holds count elements.
void convert_to_file(const float* in, std::int64_t count, FileDType to, std::byte* out);

}   // namespace trainer
