#pragma once

#include <cstdint>
#include <vector>

#include "autograd/layout.h"
#include "autograd/ops/attention.h"
#include "tests/support/op_cases.h"

// The ops in plain double arithmetic, as their headers define them.
namespace trainer::cases {

Matrix add(const Matrix& a, const Matrix& b);
Matrix rms_norm(const Matrix& x, const Matrix& weight, double eps);
Matrix silu_mul(const Matrix& gate_up);
Matrix concat_columns(const std::vector<Matrix>& parts);

// 0 or 1/(1 - p) for every element of (tokens, columns).
Matrix dropout_mask(const std::vector<std::uint64_t>& token_keys, std::int64_t columns, float p, std::uint64_t site);
Matrix multiply_elements(const Matrix& a, const Matrix& b);

Matrix times_transposed(const Matrix& x, const Matrix& weight);   // (N, in) · (out, in)ᵀ
Matrix pick_rows(const Matrix& weight, const std::vector<std::int32_t>& ids);

// Rotation of the first `heads` heads by position · inverse frequency, the product rounded to f32 as the table's is.
Matrix rope(const Matrix& x, const std::vector<std::int32_t>& positions, const std::vector<float>& inverse_frequencies,
            double scaling, int heads, int head_dim);

// causal: a token sees its document up to itself.
Matrix attention(const Matrix& qkv, const std::vector<std::int32_t>& offsets, bool causal, const AttentionShape& shape);

struct CrossEntropy {
    double loss = 0;
    double correct = 0;
    double entropy = 0;
};
CrossEntropy cross_entropy(const Matrix& logits, const std::vector<std::int32_t>& targets);

}   // namespace trainer::cases
