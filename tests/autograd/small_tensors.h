#pragma once

// What the tests of the tape share: tensors of one row, and ops made of nothing but the tape.

#include <cstdint>
#include <utility>
#include <vector>

#include "autograd/cpu/rows.h"
#include "autograd/tape.h"

namespace trainer {

inline Tensor row(std::vector<float> values) {
    return Tensor::from<float>(values, {1, static_cast<std::int64_t>(values.size())});
}

inline Tensor ones(Shape shape) {
    return Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(shape.elements()), 1.0f), shape);
}

// factor · x
inline Tensor scaled(const Tensor& x, float factor) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    copy(x, y);
    on(y.place(), [&](Cpu cpu) { scale_rows(cpu, y, factor); });
    if (Tape* tape = recording({&x}))
        tape->record({&y}, [x = x.without_value(), factor](std::span<Tensor> dy, Gradients& gradients) {
            Tensor dx = Tensor::empty(dy[0].shape(), dy[0].dtype(), dy[0].place());
            copy(dy[0], dx);
            on(dx.place(), [&](Cpu cpu) { scale_rows(cpu, dx, factor); });
            gradients.add(x, std::move(dx));
        });
    return y;
}

// x ⊙ x, for which backward needs x
inline Tensor squared(const Tensor& x) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    for (std::int64_t i = 0; i < x.elements(); ++i) y.data<float>()[i] = x.data<float>()[i] * x.data<float>()[i];
    if (Tape* tape = recording({&x}))
        tape->record({&y}, [x](std::span<Tensor> dy, Gradients& gradients) {
            Tensor dx = Tensor::empty(x.shape(), x.dtype(), x.place());
            for (std::int64_t i = 0; i < x.elements(); ++i)
                dx.data<float>()[i] = 2 * x.data<float>()[i] * dy[0].data<float>()[i];
            gradients.add(x, std::move(dx));
        });
    return y;
}

inline Parameter& give_value(Parameter& parameter, float first) {
    std::vector<float> values(static_cast<std::size_t>(parameter.shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = first + 0.1f * static_cast<float>(i);
    parameter.value = Tensor::from<float>(values, parameter.shape);
    parameter.trainable = true;
    parameter.changed();
    return parameter;
}

}   // namespace trainer
