#pragma once

#include <vector>

#include "comm/parameter_slice.h"

namespace trainer {

// The sum of the squares of each grain (comm/shard_layout.h) of the slices' gradients, in double; zeros for undefined
// ones and on meta. Independent of the number of threads, and the same on a device, which is waited for once.
std::vector<double> squares_of(const std::vector<ParameterSlice>& slices, const std::vector<Tensor>& gradients);

// The L2 norm from the squares of all grains, added in order.
double norm_of(const std::vector<double>& squares);

// min(1, limit / (norm + 1e-6)), torch's clip_grad_norm_; 1 when limit is 0 (measure only).
float clip_coefficient(double norm, double limit);

}   // namespace trainer
