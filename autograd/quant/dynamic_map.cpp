#include "autograd/quant/dynamic_map.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <vector>

#include "configs/error.h"

namespace trainer {

namespace {

// `points` numbers from 0.1 to 1 as torch.linspace spaces them: from both ends, each rounded once.
std::vector<float> evenly_spaced(int points) {
    constexpr float first = 0.1f;
    constexpr float last = 1.0f;
    const float step = (last - first) / static_cast<float>(points - 1);
    std::vector<float> all;
    for (int i = 0; i < points; ++i) {
        const bool lower_half = i < points / 2;
        const double from = lower_half ? first : last;
        const int steps = lower_half ? i : i - (points - 1);
        all.push_back(static_cast<float>(from + static_cast<double>(step) * steps));
    }
    return all;
}

// Seven decades; the middles of 2^e intervals of each, twice as many when there is no sign.
DynamicMap make_map(bool with_sign) {
    constexpr float decades[] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    std::vector<float> values = {0.0f, 1.0f};
    for (int e = 0; e < 7; ++e) {
        const std::vector<float> ends = evenly_spaced((with_sign ? 1 << e : 2 << e) + 1);
        for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
            const float middle = (ends[i] + ends[i + 1]) / 2.0f * decades[e];
            values.push_back(middle);
            if (with_sign) values.push_back(-middle);
        }
    }
    std::sort(values.begin(), values.end());
    DynamicMap map{};
    check(values.size() == map.size(), "the dynamic map has {} values", values.size());
    std::copy(values.begin(), values.end(), map.begin());
    return map;
}

}   // namespace

DynamicCodes::DynamicCodes(const DynamicMap& values)
    : map(values),
      code_of_zero(static_cast<std::uint8_t>(std::find(values.begin(), values.end(), 0.0f) - values.begin())),
      entries{} {
    std::array<float, 256> above{};   // midpoint to the next value
    for (std::size_t i = 0; i + 1 < map.size(); ++i) above[i] = (map[i] + map[i + 1]) / 2.0f;
    above.back() = std::numeric_limits<float>::infinity();
    const auto code_of = [&](std::uint32_t size, bool negative) {
        const float x = std::min(1.0f, std::bit_cast<float>(size));
        return static_cast<std::int32_t>(std::lower_bound(above.begin(), above.end(), negative ? -x : x) -
                                         above.begin());
    };
    for (const bool negative : {false, true})
        for (std::int32_t key = 0; key < keys; ++key) {
            const auto first = static_cast<std::uint32_t>(key + first_key) << 16;
            const std::int32_t code = code_of(first, negative);
            std::uint32_t last = first | 0xFFFFu;   // found by halving: the largest size with this code
            if (const std::int32_t other = code_of(last, negative); other != code) {
                check(std::abs(other - code) == 1, "dynamic map: key {} has three codes", key);
                std::uint32_t beyond = last;
                for (last = first; beyond - last > 1;) {
                    const std::uint32_t middle = last + (beyond - last) / 2;
                    (code_of(middle, negative) == code ? last : beyond) = middle;
                }
            }
            entries[static_cast<std::size_t>(key + (negative ? keys : 0))] =
                static_cast<std::int32_t>(static_cast<std::uint32_t>(code) << 16 | (last & 0xFFFFu));
        }
}

std::uint8_t nearest_code(const DynamicMap& map, float value) {
    const auto* above = std::lower_bound(map.begin(), map.end(), value);
    if (above == map.begin()) return 0;
    if (above == map.end()) return 255;
    const bool is_lower = value <= (above[-1] + above[0]) / 2.0f;
    return static_cast<std::uint8_t>(above - map.begin() - (is_lower ? 1 : 0));
}

const DynamicMap& signed_dynamic_map() { return signed_dynamic_codes().map; }
const DynamicMap& unsigned_dynamic_map() { return unsigned_dynamic_codes().map; }

const DynamicCodes& signed_dynamic_codes() {
    static const DynamicCodes codes(make_map(true));
    return codes;
}

const DynamicCodes& unsigned_dynamic_codes() {
    static const DynamicCodes codes(make_map(false));
    return codes;
}

}   // namespace trainer
