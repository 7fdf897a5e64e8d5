#pragma once

#include "tests/support/op_cases.h"

// Rows of ops that only adapters use.
namespace trainer::cases {

// With a divisor and a bias, or with neither.
Case scale_columns_case(Shape shape, bool divided);
Case embedding_low_rank_case(std::int64_t tokens, Shape table, std::int64_t rank);

}   // namespace trainer::cases
