#pragma once

#include <cstdint>
#include <vector>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// The tokens of each id: run r is tokens[begins[r]] … tokens[begins[r + 1] - 1], ascending, all of id ids[r].
struct IdRuns {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> begins;
    std::vector<std::int32_t> tokens;
};

// Row ids[r] of the gradient gains the sum of run r. `room` (3 N + 1) i32 holds the runs on the device.
void add_runs(Cuda, const IdRuns& runs, const Tensor& dy, Tensor& room, Tensor& gradient);
// y (N, C) = rows of `value` picked by ids (N).
void gather_rows(Cuda, const Tensor& value, const Tensor& ids, Tensor& y);

}   // namespace trainer
