#pragma once

#include <vector>

#include "autograd/tensor.h"

namespace trainer {

// (N, Σ Cᵢ) from tensors (N, Cᵢ) of one dtype, side by side.
Tensor concat_columns(const std::vector<Tensor>& parts);

}   // namespace trainer
