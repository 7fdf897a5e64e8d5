#pragma once

#include "optim/elements_cuda.h"

namespace trainer {

// rule(gradient · gradient_scale, value, states…) for all elements of contiguous tensors. An undefined gradient is
// zero. All tensors are f32.
template <typename Rule, std::same_as<Tensor>... States>
void update_elements(Cpu, const Rule& rule, const Tensor& gradient, const Tensor& value, const Rounding&,
                     const States&... states) {
    static_assert(ElementRule<Rule, decltype(*states.template data<float>())...>);
    const auto update_all = [&rule](const float* given, float* values, std::int64_t elements, auto*... of_state) {
#pragma omp parallel for simd schedule(static)
        for (std::int64_t i = 0; i < elements; ++i)
            rule(given ? given[i] * rule.gradient_scale : 0.0f, values[i], of_state[i]...);
    };
    update_all(gradient.defined() ? gradient.data<float>() : nullptr, value.data<float>(), value.elements(),
               states.template data<float>()...);
}

}   // namespace trainer
