#pragma once

#include <vector>

#include "comm/parameter_slice.h"

namespace trainer {

// Appends the sum of the squares of each grain (comm/shard_layout.h) of a gradient, in double; zeros for an undefined
// one and on meta. Independent of the number of threads.
void append_squares(const ParameterSlice& slice, const Tensor& gradient, std::vector<double>& squares);

// The L2 norm from the squares of all grains, added in order.
double norm_of(const std::vector<double>& squares);

// min(1, limit / (norm + 1e-6)), torch's clip_grad_norm_; 1 when limit is 0 (measure only).
float clip_coefficient(double norm, double limit);

}   // namespace trainer
