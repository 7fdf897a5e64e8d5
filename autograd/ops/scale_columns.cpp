#include "autograd/ops/scale_columns.h"

#include <algorithm>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/ops/scale_columns_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr std::int64_t row_block = 256;
constexpr std::int64_t width = 64;   // columns that one thread sums

template <typename Function>
void with_element(DType dtype, Function function) {
    if (dtype == DType::f32)
        function(float{});
    else
        function(bf16{});
}

template <typename Element>
const Element* elements_of(const Tensor& x, std::int64_t row) {
    return reinterpret_cast<const Element*>(row_of(x, row));
}

// factor (C) = scale / divisor
void make_factor(Cpu, const Tensor& scale, const Tensor& divisor, Tensor& factor) {
    const auto* from = scale.data<float>();
    const auto* by = divisor.defined() ? divisor.data<float>() : nullptr;
    auto* to = factor.data<float>();
    for (std::int64_t c = 0; c < factor.elements(); ++c) to[c] = by ? from[c] / by[c] : from[c];
}

// out = in ⊙ factor + bias
void multiply(Cpu, const Tensor& in, const Tensor& factor, const Tensor& bias, Tensor& out) {
    const auto* by = factor.data<float>();
    const auto* plus = bias.defined() ? bias.data<float>() : nullptr;
    with_element(in.dtype(), [&]<typename Element>(Element) {
#pragma omp parallel for schedule(static)
        for (std::int64_t n = 0; n < in.rows(); ++n) {
            const auto* from = elements_of<Element>(in, n);
            auto* to = reinterpret_cast<Element*>(row_of(out, n));
            for (std::int64_t c = 0; c < in.columns(); ++c)
                to[c] = Element(static_cast<float>(from[c]) * by[c] + (plus ? plus[c] : 0.0f));
        }
    });
}

// sum (C) f32 += Σ_n dy ⊙ x / divisor; x undefined: 1; divisor undefined: 1
void add_column_sums(Cpu, const Tensor& dy, const Tensor& x, const Tensor& divisor, Tensor& sum) {
    const auto* by = divisor.defined() ? divisor.data<float>() : nullptr;
    auto* to = sum.data<float>();
    with_element(dy.dtype(), [&]<typename Element>(Element) {
#pragma omp parallel for schedule(static)
        for (std::int64_t begin = 0; begin < dy.columns(); begin += width) {
            const std::int64_t count = std::min(width, dy.columns() - begin);
            float total[width] = {};
            for (std::int64_t row = 0; row < dy.rows(); row += row_block) {
                float part[width] = {};
                for (std::int64_t n = row; n < std::min(row + row_block, dy.rows()); ++n) {
                    const auto* g = elements_of<Element>(dy, n) + begin;
                    const auto* value = x.defined() ? elements_of<Element>(x, n) + begin : nullptr;
                    for (std::int64_t c = 0; c < count; ++c)
                        part[c] += static_cast<float>(g[c]) * (value ? static_cast<float>(value[c]) : 1.0f);
                }
                for (std::int64_t c = 0; c < count; ++c) total[c] += part[c];
            }
            for (std::int64_t c = 0; c < count; ++c) to[begin + c] += by ? total[c] / by[begin + c] : total[c];
        }
    });
}

void add_gradient(Parameter& parameter, const Tensor& dy, const Tensor& x, const Tensor& divisor) {
    Tensor& gradient = parameter.gradient;
    if (!gradient.defined()) gradient = parameter.zeroed_gradient(dy.place());
    on(gradient.place(), [&](auto place) { add_column_sums(place, dy, x, divisor, gradient); });
}

}   // namespace

Tensor scale_columns(const Tensor& x, Parameter& scale, const Tensor& divisor, Parameter* bias) {
    check(scale.shape.elements() == x.columns() && (!divisor.defined() || divisor.elements() == x.columns()),
          "scale_columns: {} by {}", x.shape().text(), scale.shape.text());
    Tensor factor = Tensor::empty(x.columns(), DType::f32, x.place());
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    const Tensor by = converted(scale.value, DType::f32);
    const Tensor plus = bias ? converted(bias->value, DType::f32) : Tensor();
    on(y.place(), [&](auto place) {
        make_factor(place, by, divisor, factor);
        multiply(place, x, factor, plus, y);
    });
    OpCall({"scale_columns", &scale}, {&x}, scale.trainable || (bias && bias->trainable))
        .made({&y}, [x = scale.trainable ? x : x.without_value(), factor, &scale, divisor, bias](std::span<Tensor> dy,
                                                                                                 Gradients& gradients) {
            if (scale.trainable) add_gradient(scale, dy[0], x, divisor);
            if (bias && bias->trainable) add_gradient(*bias, dy[0], Tensor(), Tensor());
            if (!gradients.wants(x)) return;
            Tensor dx = Tensor::empty(x.shape(), x.dtype(), factor.place());
            on(dx.place(), [&](auto place) { multiply(place, dy[0], factor, Tensor(), dx); });
            gradients.add(x, std::move(dx));
        });
    return y;
}

}   // namespace trainer
