#pragma once

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// y (N, C) = base (N, C) + scale · (columns of A picked by ids)ᵀ Bᵀ, in base's dtype; A is (r, V), B is (C, r), ids (N)
// i32. A's gradient is summed in token order whatever the number of threads.
Tensor embedding_low_rank(const Tensor& base, const Tensor& ids, Parameter& a, Parameter& b, float scale);

}   // namespace trainer
