#pragma once

#include "autograd/parameter.h"
#include "autograd/quant/weight.h"
#include "autograd/tensor.h"

namespace trainer {

// y (N, C) in `dtype` = rows of the weight (V, C) picked by ids (N) i32, which are on the host. `parameter` receives
// the gradient when it is trainable (null: the weight is not dense); rows are summed in token order whatever the number
// of threads. Error(internal) for an id outside [0, V): the data audit refuses such rows before.
Tensor embedding(const Tensor& ids, const Weight& weight, Parameter* parameter, DType dtype);

// gradient (V, C) f32: row `id` gains the sum of the rows of dy (N, C) whose token has that id, summed in token order;
// tokens with a negative id are left out. ids are on the host.
void add_rows_by_id(const Tensor& ids, const Tensor& dy, Tensor& gradient);

}   // namespace trainer
