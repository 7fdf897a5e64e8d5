#pragma once

#include <vector>

#include "autograd/parameter.h"

namespace trainer {

// L2 norm over all gradients (a parameter without one counts as zero), summed in double in fixed blocks, parameters in
// order: independent of the number of threads. On meta 0.
double gradient_norm(const std::vector<Parameter*>& parameters);

// min(1, limit / (norm + 1e-6)), torch's clip_grad_norm_; 1 when limit is 0 (measure only).
float clip_coefficient(double norm, double limit);

}   // namespace trainer
