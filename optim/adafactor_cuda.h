#pragma once

#include "autograd/tensor.h"

// A matrix is (rows, columns) of the parameter; a vector has one row. Sums are made in double; tensors of u64 have room
// for them (optim/grain_sum_cuda.h).
namespace trainer {

struct AdafactorMeans {
    double beta;   // mean ← β mean + (1 − β) (mean of the squares + eps)
    double eps;
};
void fold_squares(Cuda, const AdafactorMeans& means, const Tensor& gradient, float gradient_scale, const Shape& shape,
                  const Tensor& row_means, const Tensor& column_means);
// √(mean of the row means / row mean) for each row, then √(1 / column mean) for each column.
void unit_factors(Cuda, const Tensor& row_means, const Tensor& column_means, const Tensor& factors);

// What the gradient is multiplied by: factors of its row and column or, for a vector, 1 / √square.
struct AdafactorUnit {
    Tensor gradient;   // undefined: zero
    float gradient_scale;
    Shape shape;
    Tensor factors;   // of a matrix
    Tensor squares;   // of a vector
};
struct AdafactorRate {
    double rate;   // before the size of the parameter
    double smallest_size;
    double weight_decay;
    double clip_threshold;
    bool by_size;   // of the parameter
};
// Room for the sums of one descent: a double for each row and, by size, for each grain; two f32.
struct AdafactorRoom {
    Tensor sums;
    Tensor scales;
};
// p ← p·keep − rate·u, u clipped; with `mean` (or undefined) the change goes through a running mean of decay `beta1`.
void descend(Cuda, const AdafactorUnit& unit, const AdafactorRate& rate, double beta1, const AdafactorRoom& room,
             const Tensor& mean, const Tensor& value);

}   // namespace trainer
