#pragma once

#include "autograd/ops/id_runs.h"
#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

// h (N, r) f32 = scale · A[:, id], ids (N) i32 on the device
void pick_scaled(Cuda, const Tensor& a, const Tensor& ids, float scale, Tensor& h);
// gradient (r, V)[:, id] += scale · the sum of g (N, r) over the tokens of the id
void add_runs_to_columns(Cuda, const IdRuns& runs, const Tensor& g, float scale, const Tensor& room, Tensor& gradient);

}   // namespace trainer
