#pragma once

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// Nearly orthogonal matrices R (b, b), one for each b columns of x, from skew-symmetric ones by the first terms of the
// Cayley transform: R = I + 2Q + 2Q² + 2Q³ + Q⁴. Row k of `upper` (blocks, b (b − 1) / 2) holds the elements of Q_k
// above the diagonal, row by row; Q[j, i] = −Q[i, j].

// All R under each other, (blocks · b, b) f32.
Tensor block_rotations(Parameter& upper, std::int64_t block);

// y (N, C): each b columns of x times their R, computed in f32 and rounded to x's dtype. R is made anew in the backward
// pass. `upper` receives the gradient when trainable.
Tensor block_rotation(const Tensor& x, Parameter& upper, std::int64_t block);

}   // namespace trainer
