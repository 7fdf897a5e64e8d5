#pragma once

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer {

void dropout_rows(Cuda, const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys);

}   // namespace trainer
