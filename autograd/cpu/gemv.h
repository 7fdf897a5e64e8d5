#pragma once

#include "autograd/cpu/gemm.h"

namespace trainer {

// c (1, N) = [c +] a (1, K) · bᵀ, b (N, K): generation, bound by reading b once. Rows of b are shared out over the
// threads; every sum has one fixed order. Same types as gemm.
void gemv(const MatrixView& c, const MatrixView& a, const MatrixView& b, bool accumulate);

}   // namespace trainer
