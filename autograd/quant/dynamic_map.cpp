#include "autograd/quant/dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "configs/error.h"

namespace trainer {

namespace {

// n values from 0.1 to 1 as torch.linspace computes them: from both ends towards the middle, each rounded once.
std::vector<float> tenth_to_one(int n) {
    constexpr float first = 0.1f, last = 1.0f;
    const auto step = static_cast<double>((last - first) / static_cast<float>(n - 1));
    std::vector<float> values;
    for (int i = 0; i < n; ++i)
        values.push_back(static_cast<float>(i < n / 2 ? static_cast<double>(first) + step * i
                                                      : static_cast<double>(last) - step * (n - 1 - i)));
    return values;
}

// For each exponent the midpoints of equal intervals of [0.1, 1], scaled; 0 and 1 besides.
DynamicMap make_map(bool with_negative) {
    constexpr int exponents = 7;
    std::vector<float> entries = {0.0f, 1.0f};
    for (int exponent = 0; exponent < exponents; ++exponent) {
        const std::vector<float> bounds = tenth_to_one((1 << (with_negative ? exponent : exponent + 1)) + 1);
        const auto scale = static_cast<float>(std::pow(10.0, exponent - (exponents - 1)));
        for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
            const float value = scale * ((bounds[i] + bounds[i + 1]) / 2.0f);
            entries.push_back(value);
            if (with_negative) entries.push_back(-value);
        }
    }
    std::sort(entries.begin(), entries.end());
    DynamicMap map;
    check(entries.size() == map.size(), "dynamic map: {} entries", entries.size());
    std::copy(entries.begin(), entries.end(), map.begin());
    return map;
}

}   // namespace

const DynamicMap& signed_dynamic_map() {
    static const DynamicMap map = make_map(true);
    return map;
}

const DynamicMap& unsigned_dynamic_map() {
    static const DynamicMap map = make_map(false);
    return map;
}

std::uint8_t nearest_code(const DynamicMap& map, float value) {
    const auto* above = std::lower_bound(map.begin(), map.end(), value);
    if (above == map.begin()) return 0;
    if (above == map.end()) return 255;
    const auto* below = above - 1;
    return static_cast<std::uint8_t>((value - *below <= *above - value ? below : above) - map.begin());
}

void quantise_blockwise(const DynamicMap& map, std::span<const float> values, std::int64_t block,
                        std::span<std::uint8_t> codes, std::span<float> absmax) {
    const auto count = static_cast<std::int64_t>(values.size());
    const std::int64_t blocks = (count + block - 1) / block;
    check(codes.size() == values.size() && static_cast<std::int64_t>(absmax.size()) == blocks,
          "blockwise: {} values, {} codes, {} scales of blocks of {}", count, codes.size(), absmax.size(), block);
#pragma omp parallel for schedule(static)
    for (std::int64_t b = 0; b < blocks; ++b) {
        const std::int64_t begin = b * block, end = std::min(begin + block, count);
        float largest = 0;
        for (std::int64_t i = begin; i < end; ++i)
            largest = std::max(largest, std::abs(values[static_cast<std::size_t>(i)]));
        absmax[static_cast<std::size_t>(b)] = largest;
        const float inverse = 1.0f / largest;
        for (std::int64_t i = begin; i < end; ++i) {
            const auto at = static_cast<std::size_t>(i);
            codes[at] = largest > 0 ? nearest_code(map, values[at] * inverse) : 0;
        }
    }
}

}   // namespace trainer
