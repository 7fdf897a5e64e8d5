#pragma once

#include "autograd/tensor.h"

namespace trainer {

// y (N, I) = silu(gate) ⊙ up, silu(g) = g / (1 + e^-g), from gate_up (N, 2I) with the gate columns first. f32 inside.
Tensor silu_mul(const Tensor& gate_up);

}   // namespace trainer
