#include "data/packer.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "configs/error.h"

namespace trainer {

namespace {

void check_indices_fit(const std::vector<Example>& examples) {
    check(examples.size() <= std::numeric_limits<std::int32_t>::max(), "packer: {} examples, more than rows can name",
          examples.size());
}

}   // namespace

std::vector<Row> rows_without_packing(const std::vector<Example>& examples) {
    check_indices_fit(examples);
    std::vector<Row> rows;
    for (std::size_t i = 0; i < examples.size(); ++i) rows.push_back({static_cast<std::int32_t>(i)});
    return rows;
}

std::vector<Row> pack_best_fit(const std::vector<Example>& examples, std::int64_t capacity) {
    check_indices_fit(examples);
    constexpr std::size_t window = 8192;
    std::vector<Row> rows;
    for (std::size_t begin = 0; begin < examples.size(); begin += window) {
        const std::size_t end = std::min(examples.size(), begin + window);
        std::vector<std::int32_t> order(end - begin);
        std::iota(order.begin(), order.end(), static_cast<std::int32_t>(begin));
        const auto length = [&](std::int32_t i) {
            return static_cast<std::int64_t>(examples[static_cast<std::size_t>(i)].ids.size());
        };
        std::stable_sort(order.begin(), order.end(),
                         [&](std::int32_t a, std::int32_t b) { return length(a) > length(b); });
        std::set<std::pair<std::int64_t, std::size_t>> room;   // (tokens left, row), of this window
        for (std::int32_t i : order) {
            check(length(i) <= capacity, "packer: example {} has {} tokens, a row holds {}", i, length(i), capacity);
            const auto best = room.lower_bound({length(i), 0});
            std::size_t row = rows.size();
            std::int64_t left = capacity;
            if (best == room.end()) {
                rows.emplace_back();
            } else {
                left = best->first;
                row = best->second;
                room.erase(best);
            }
            rows[row].push_back(i);
            room.insert({left - length(i), row});
        }
    }
    return rows;
}

}   // namespace trainer
