#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "optim/grain_sum_cuda.h"

namespace trainer {

// The sum over elements [0, elements) of part(begin, end), asked for grain by grain (comm/shard_layout.h) and added in
// order: the same bits on any number of threads.
template <typename Part>
double sum_by_grains(std::int64_t elements, const Part& part) {
    constexpr std::int64_t grain = ShardLayout::grain_elements;
    std::vector<double> parts(static_cast<std::size_t>(grains_in(elements)));
#pragma omp parallel for schedule(static) if (parts.size() > 64)
    for (std::size_t i = 0; i < parts.size(); ++i) {
        const auto begin = static_cast<std::int64_t>(i) * grain;
        parts[i] = part(begin, std::min(elements, begin + grain));
    }
    double sum = 0;
    for (const double one : parts) sum += one;
    return sum;
}

// Of one grain or less.
inline double squares_of_grain(const float* values, std::int64_t elements) {
    double lanes[8] = {};
    for (std::int64_t i = 0; i < elements; ++i)
        lanes[i & 7] += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    double sum = 0;
    for (const double lane : lanes) sum += lane;
    return sum;
}

inline double sum_of_squares(const float* values, std::int64_t elements) {
    return sum_by_grains(elements, [values](std::int64_t begin, std::int64_t end) {
        return squares_of_grain(values + begin, end - begin);
    });
}

}   // namespace trainer
