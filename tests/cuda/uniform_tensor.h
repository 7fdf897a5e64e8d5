#pragma once

#include "autograd/random.h"
#include "autograd/tensor.h"

namespace trainer {

// Numbers from [-1, 1) on the CPU.
inline Tensor uniform_tensor(Shape shape, DType dtype, std::uint64_t key) {
    Tensor out = Tensor::empty(shape, DType::f32);
    for (std::int64_t i = 0; i < out.elements(); ++i)
        out.data<float>()[i] = 2 * uniform(philox(key, {static_cast<std::uint32_t>(i), 0, 0, 0})[0]) - 1;
    return converted(out, dtype);
}

}   // namespace trainer
