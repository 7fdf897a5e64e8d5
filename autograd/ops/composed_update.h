#pragma once

#include "autograd/parameter.h"
#include "autograd/tensor.h"

namespace trainer {

// A matrix that is a parameter, or the product a b of two; f32.
struct FactoredMatrix {
    Parameter* whole = nullptr;   // when not null, a and b are
    Parameter* a = nullptr;
    Parameter* b = nullptr;
};

// How two matrices make a third.
enum class Composition {
    elementwise,   // D[o, i] = F[o, i] · S[o, i]
    kronecker,     // D[o, i] = F[o / rows, i / columns] · S[o mod rows, i mod columns] for S of rows and columns
};

// The change of a weight (out, in): scale · D.
struct ComposedMatrix {
    Composition how = Composition::elementwise;
    FactoredMatrix first;
    FactoredMatrix second;
    float scale = 1;
};

// The change in a dtype, computed in f32.
Tensor composed_value(const ComposedMatrix& matrix, DType dtype);

// y (N, out) = base + x (N, in) · changeᵀ in x's dtype. The change is made anew in the backward pass. All parameters
// receive gradients, or none; `matrix` is copied, its parameters must outlive the tape.
Tensor composed_update(const Tensor& base, const Tensor& x, const ComposedMatrix& matrix);

}   // namespace trainer
