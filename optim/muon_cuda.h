#pragma once

#include "autograd/tensor.h"

namespace trainer {

// out = x / (‖x‖ + 1e-7). `sums`: u64, one for each grain of x (optim/grain_sum_cuda.h).
void normalise(Cuda, const Tensor& x, const Tensor& sums, const Tensor& out);
// mix = a I + b A + c A², given A² in it and A in `plain` (optim/muon.h).
void mix_powers(Cuda, const Tensor& plain, const Tensor& mix);

}   // namespace trainer
