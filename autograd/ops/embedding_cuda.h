#pragma once

#include "autograd/ops/id_runs.h"
#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// Row ids[r] of the gradient gains the sum of run r. `room` (3 N + 1) i32 holds the runs on the device.
void add_runs(Cuda, const IdRuns& runs, const Tensor& dy, Tensor& room, Tensor& gradient);
// y (N, C) = rows of `value` picked by ids (N); a negative id leaves its row as it is.
void gather_rows(Cuda, const Tensor& value, const Tensor& ids, Tensor& y);

}   // namespace trainer
