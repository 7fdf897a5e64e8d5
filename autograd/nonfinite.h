#pragma once

#include <cstdint>
#include <optional>

#include "autograd/tensor.h"

namespace trainer {

// An element that is NaN or infinite.
struct NonFinite {
    std::int64_t row = 0;
    std::int64_t column = 0;   // 0 for one dimension
    float value = 0;
};

// The first such element, row by row, of f32, bf16 and f16 anywhere. Tensors of integers and of the meta place have
// none.
std::optional<NonFinite> first_nonfinite(const Tensor& x);

}   // namespace trainer
