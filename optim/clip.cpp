#include "optim/clip.h"

#include <algorithm>
#include <cmath>

#include "optim/grain_sum.h"

namespace trainer {

void append_squares(const ParameterSlice& slice, const Tensor& gradient, std::vector<double>& squares) {
    constexpr std::int64_t grain = ShardLayout::grain_elements;
    const std::int64_t elements = slice.elements();
    const std::int64_t grains = ShardLayout::grains(slice);
    const std::size_t before = squares.size();
    squares.resize(before + static_cast<std::size_t>(grains));
    if (!gradient.defined()) return;
    double* out = squares.data() + before;
    on(gradient.place(), [&](Cpu) {
        const auto* values = gradient.data<float>();
#pragma omp parallel for schedule(static) if (grains > 64)
        for (std::int64_t i = 0; i < grains; ++i)
            out[i] = squares_of_grain(values + i * grain, std::min(grain, elements - i * grain));
    });
}

double norm_of(const std::vector<double>& squares) {
    double total = 0;
    for (const double square : squares) total += square;
    return std::sqrt(total);
}

float clip_coefficient(double norm, double limit) {
    if (limit == 0) return 1.0f;
    return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}   // namespace trainer
