#pragma once

#include <cstdint>
#include <vector>

#include "data/example.h"

namespace trainer {

// Rows of a step: each is one example, or with packing several, as indices into the examples.
using Row = std::vector<std::int32_t>;

// One row an example, in order.
std::vector<Row> rows_without_packing(const std::vector<Example>& examples);

// Best-fit decreasing: within windows of 8,192 examples, longest first (ties: lower index first), each goes into the
// row with the least room left that still holds it (ties: the older row). Rows hold at most `capacity` tokens.
std::vector<Row> pack_best_fit(const std::vector<Example>& examples, std::int64_t capacity);

}   // namespace trainer
