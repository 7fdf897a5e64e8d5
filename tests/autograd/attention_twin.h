#pragma once

// What the tests of attention share: attention and its gradient straight from the definition, in double, and runs of
// the op on the same numbers.

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "autograd/cpu/isa.h"
#include "autograd/ops/attention.h"

namespace trainer::test {

using Lengths = std::vector<std::int32_t>;
using Numbers = std::vector<double>;

struct Shapes {
    int heads;
    int kv_heads;
    int head_dim;
    int columns() const { return (heads + 2 * kv_heads) * head_dim; }
    int out_columns() const { return heads * head_dim; }
    AttentionShape shape() const { return {heads, kv_heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))}; }
};

Layout layout_of(const Lengths& lengths, Layout::Kind kind = Layout::Kind::causal);

// Roughly normal numbers that the dtype holds exactly.
Numbers random_numbers(std::int64_t count, DType dtype, std::uint64_t seed, double scale = 1);
Tensor tensor_of(const Numbers& numbers, std::int64_t rows, std::int64_t columns, DType dtype);
Numbers numbers_of(const Tensor& tensor);
double relative_error(const Numbers& a, const Numbers& b);
bool same_bits(const Tensor& a, const Tensor& b);

struct AttentionNumbers {
    Numbers out;
    Numbers gradient;   // of qkv
};
AttentionNumbers attention_twin(const Numbers& qkv, const Numbers& dout, const Layout& layout, const Shapes& s);

struct AttentionTensors {
    Tensor out;
    Tensor gradient;
};
AttentionTensors run_attention(Tensor qkv, const Tensor& dout, const Layout& layout, const Shapes& s);

class PoisonedAttention : public testing::Test {
protected:
    void SetUp() override { poison_new_memory(true); }
    void TearDown() override {
        poison_new_memory(false);
        omp_set_num_threads(threads_);
        force_isa(isa_);
    }

private:
    int threads_ = omp_get_max_threads();
    Isa isa_ = isa();
};
inline const Lengths mixed_lengths = {31, 1, 64, 2, 65, 129, 17};

}   // namespace trainer::test
