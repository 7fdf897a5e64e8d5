#pragma once

#include "tests/support/op_cases.h"

// Rows of ops that only adapters use.
namespace trainer::cases {

// With a divisor and a bias, or with neither.
Case scale_columns_case(Shape shape, bool divided);
// `count` rows of the table, tied: picked by tokens, or as columns of a product with it.
Case replace_rows_case(std::int64_t tokens, Shape table, std::int64_t count);
Case linear_with_replaced_rows_case(std::int64_t tokens, Shape table, std::int64_t count);
Case block_rotation_case(Shape shape, std::int64_t block);
// LoHa's, and LoKr's with w1 (first) whole and w2 of a rank.
Case elementwise_update_case(std::int64_t tokens, std::int64_t in, std::int64_t out, std::int64_t rank);
Case kronecker_update_case(std::int64_t tokens, Shape first, Shape second, std::int64_t rank);
Case embedding_low_rank_case(std::int64_t tokens, Shape table, std::int64_t rank);

}   // namespace trainer::cases
