#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "autograd/layout.h"
#include "autograd/parameter.h"

namespace trainer::test {

inline Tensor random_tensor(Shape shape, unsigned seed, float size = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = size * normal(random);
    return Tensor::from<float>(values, shape);
}

inline void randomise(Parameter& parameter, unsigned seed, float size = 1) {
    copy(random_tensor(parameter.shape, seed, size), parameter.value);
    parameter.changed();
}

// Documents of these lengths with positions and token keys.
inline Layout layout_of(const std::vector<std::int32_t>& lengths) {
    Layout layout;
    std::vector<std::int32_t> positions;
    std::vector<std::uint64_t> keys;
    for (std::int32_t length : lengths) {
        layout.offsets.push_back(layout.offsets.back() + length);
        layout.longest = std::max(layout.longest, length);
        for (std::int32_t i = 0; i < length; ++i) {
            positions.push_back(i);
            keys.push_back(1000 + keys.size());
        }
    }
    layout.positions = Tensor::from<std::int32_t>(positions, layout.tokens());
    layout.token_keys = Tensor::from<std::uint64_t>(keys, layout.tokens());
    return layout;
}

// ‖a − b‖ / ‖b‖
inline double relative_error(const Tensor& a, const Tensor& b) {
    const std::vector<float> x = a.to_vector<float>();
    const std::vector<float> y = b.to_vector<float>();
    if (x.size() != y.size()) return INFINITY;
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        difference += std::pow(static_cast<double>(x[i]) - y[i], 2);
        size += std::pow(static_cast<double>(y[i]), 2);
    }
    return std::sqrt(difference / size);
}

}   // namespace trainer::test
