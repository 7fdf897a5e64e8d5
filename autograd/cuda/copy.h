#pragma once

#include <cstddef>

#include "autograd/cuda/runtime.h"

namespace trainer::cuda {

// Copies rows of `row_bytes` bytes, `from_pitch` and `to_pitch` bytes apart. Returns when the host's memory may be
// changed (to_device: at once, it is taken into a ring of pinned memory) or read (to_host: it waits for the device).
// Any thread may copy.
void copy_rows(Direction direction, void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
               std::size_t row_bytes, std::size_t rows);

}   // namespace trainer::cuda
