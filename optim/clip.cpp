#include "optim/clip.h"

#include <algorithm>
#include <cmath>

namespace trainer {

namespace {

double sum_of_squares(Cpu, const float* values, std::int64_t elements) {
    constexpr std::int64_t block = 16384;
    const std::int64_t blocks = (elements + block - 1) / block;
    std::vector<double> sums(static_cast<std::size_t>(blocks));
#pragma omp parallel for schedule(static)
    for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t end = std::min(elements, (b + 1) * block);
        double lanes[8] = {};
        for (std::int64_t i = b * block; i < end; ++i)
            lanes[i & 7] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
        double sum = 0;
        for (double lane : lanes) sum += lane;
        sums[static_cast<std::size_t>(b)] = sum;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}

}   // namespace

double gradient_norm(const std::vector<Parameter*>& parameters) {
    double total = 0;
    for (const Parameter* parameter : parameters) {
        const Tensor& gradient = parameter->gradient;
        if (gradient.defined())
            on(gradient.place(),
               [&](Cpu cpu) { total += sum_of_squares(cpu, gradient.data<float>(), gradient.elements()); });
    }
    return std::sqrt(total);
}

float clip_coefficient(double norm, double limit) {
    if (limit == 0) return 1.0f;
    return static_cast<float>(std::min(1.0, limit / (norm + 1e-6)));
}

}   // namespace trainer
