#pragma once

#include <functional>
#include <vector>

#include "autograd/observer.h"
#include "autograd/ops/linear.h"

namespace trainer {

// The products of a linear layer without the tape, shared by the ops `linear` and `linear_cross_entropy`.
// token_keys is undefined when dropout is off.

// y (N, out) = x Wᵀ + bias + low-rank terms; y is f32 or has x's dtype and may be strided.
// Returns scale · dropout(x) Aᵀ (N, r) of each low-rank term in x's dtype, which linear_backward needs.
std::vector<Tensor> linear_forward(const Tensor& x, const LinearTerms& terms, const Tensor& token_keys, Tensor& y);

// The f32 sum a parameter's gradient goes to; it is undefined before the first contribution.
using GradientOf = std::function<Tensor&(Parameter&)>;

// Adds the gradients of all trainable parameters of `terms` for dy (N, out), and writes dx = dy W + … when dx is not
// null. `hidden` is what linear_forward returned. Only a trainable W, A or
// replaced row needs the values of x.
void linear_backward(const Tensor& x, const Tensor& dy, const LinearTerms& terms, const Tensor& token_keys,
                     const std::vector<Tensor>& hidden, const GradientOf& gradient_of, Tensor* dx);

// `op` with the weight by which the module can be named.
OpName named(const char* op, const LinearTerms& terms);

// What backward will ask for.
bool anything_trainable(const LinearTerms& terms);
bool needs_input(const LinearTerms& terms);   // a trainable W, A or replaced row

}   // namespace trainer
