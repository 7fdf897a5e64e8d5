#pragma once

#include <cstdint>

#include "autograd/tensor.h"

namespace trainer {

void round_elements(Cuda, std::uint64_t key, std::int64_t first, const Tensor& from, Tensor& to);

}   // namespace trainer
