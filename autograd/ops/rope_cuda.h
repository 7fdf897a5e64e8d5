#pragma once

#include "autograd/ops/rope.h"
#include "autograd/place.h"

namespace trainer {

// Positions are on the device: nobody looks whether the table has them.
void rope_rows(Cuda, Tensor& x, const RopeTable& table, const Tensor& positions, int heads, int head_dim, bool inverse);

}   // namespace trainer
