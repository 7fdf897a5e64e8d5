// Attention against its definition in double.
#include <string>

#include "configs/error.h"
#include "tests/autograd/attention_twin.h"

namespace trainer::test {
namespace {

using Attention = PoisonedAttention;

// The columns begin … end-1 of rows of `columns` numbers.
Numbers slice(const Numbers& rows, int columns, int begin, int end) {
    Numbers out;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const int column = static_cast<int>(i) % columns;
        if (begin <= column && column < end) out.push_back(rows[i]);
    }
    return out;
}

// Compares with the twin, part by part. Bounds: docs/numerics.md; f32 is held to what it reaches.
void expect_near_twin(const Lengths& lengths, const Shapes& s, Layout::Kind kind, DType dtype, double scale = 1) {
    SCOPED_TRACE(std::string(name_of(dtype)) + " " + std::string(isa_name()) + " heads " + std::to_string(s.heads) +
                 "/" + std::to_string(s.kv_heads) + " of " + std::to_string(s.head_dim) + ", first document " +
                 std::to_string(lengths[0]));
    const Layout layout = layout_of(lengths, kind);
    const std::int64_t tokens = layout.tokens();
    const Numbers qkv = random_numbers(tokens * s.columns(), dtype, 5, scale);
    const Numbers dout = random_numbers(tokens * s.out_columns(), dtype, 6);
    const AttentionNumbers expected = attention_twin(qkv, dout, layout, s);
    const AttentionTensors found = run_attention(tensor_of(qkv, tokens, s.columns(), dtype),
                                                 tensor_of(dout, tokens, s.out_columns(), dtype), layout, s);
    const bool full = dtype == DType::f32;
    EXPECT_LT(relative_error(numbers_of(found.out), expected.out), full ? 2e-6 : 4e-3);
    const Numbers gradient = numbers_of(found.gradient);
    const int keys = s.heads * s.head_dim;
    const int values = keys + s.kv_heads * s.head_dim;
    auto part = [&](const Numbers& all, int begin, int end) { return slice(all, s.columns(), begin, end); };
    if (layout.longest > 1) {   // alone, a token's weight is 1 whatever the query
        EXPECT_LT(relative_error(part(gradient, 0, keys), part(expected.gradient, 0, keys)), full ? 4e-6 : 6e-3);
        EXPECT_LT(relative_error(part(gradient, keys, values), part(expected.gradient, keys, values)),
                  full ? 4e-6 : 6e-3);
    }
    EXPECT_LT(relative_error(part(gradient, values, s.columns()), part(expected.gradient, values, s.columns())),
              full ? 2e-6 : 5e-3);
}

TEST_F(Attention, AgreesWithDouble) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional}) {
            for (int head_dim : {64, 32, 16, 80, 128, 6})
                expect_near_twin(mixed_lengths, {6, 2, head_dim}, kind, dtype);
            expect_near_twin(mixed_lengths, {9, 3, 64}, kind, dtype);
            expect_near_twin(mixed_lengths, {4, 4, 64}, kind, dtype);
            expect_near_twin(mixed_lengths, {8, 1, 32}, kind, dtype);
            expect_near_twin(mixed_lengths, {20, 1, 16}, kind, dtype);
            expect_near_twin({1}, {9, 3, 64}, kind, dtype);
            expect_near_twin(Lengths(60, 2), {3, 1, 16}, kind, dtype);
            expect_near_twin({513}, {3, 1, 64}, kind, dtype);
            expect_near_twin({0, 200, 0, 40, 0}, {3, 1, 64}, kind, dtype);
        }
}

TEST_F(Attention, AgreesWithDoubleOnEveryInstructionSet) {
    for (Isa set : {Isa::v2, Isa::v3, Isa::v4, Isa::v4bf16, Isa::v4amx}) {
        if (set > supported_isa()) continue;
        force_isa(set);
        for (DType dtype : {DType::f32, DType::bf16}) {
            expect_near_twin(mixed_lengths, {6, 2, 80}, Layout::Kind::causal, dtype);
            expect_near_twin({150, 3}, {3, 3, 6}, Layout::Kind::bidirectional, dtype);
        }
    }
}

// Scores of several hundred: the softmax is shifted by its maximum.
TEST_F(Attention, LargeScoresStayFinite) {
    const Layout layout = layout_of({200});
    const Shapes s{2, 1, 64};
    const Numbers qkv = random_numbers(200 * s.columns(), DType::f32, 5, 12);
    const Numbers dout = random_numbers(200 * s.out_columns(), DType::f32, 6);
    const AttentionNumbers expected = attention_twin(qkv, dout, layout, s);
    const AttentionTensors found = run_attention(tensor_of(qkv, 200, s.columns(), DType::f32),
                                                 tensor_of(dout, 200, s.out_columns(), DType::f32), layout, s);
    EXPECT_LT(relative_error(numbers_of(found.out), expected.out), 1e-4);
    EXPECT_LT(relative_error(numbers_of(found.gradient), expected.gradient), 1e-4);
}

// A number that is not finite must not disappear.
TEST_F(Attention, NanReachesTheOutput) {
    const Layout layout = layout_of({40, 40});
    const Shapes s{2, 1, 16};
    for (int column : {0, 2 * 16, 3 * 16}) {   // a query, a key, a value
        Numbers qkv = random_numbers(80 * s.columns(), DType::f32, 5);
        qkv[static_cast<std::size_t>(20 * s.columns() + column)] = NAN;
        const Numbers out = numbers_of(attention(tensor_of(qkv, 80, s.columns(), DType::f32), layout, s.shape(), 0));
        EXPECT_TRUE(std::isnan(out[static_cast<std::size_t>(20 * s.out_columns())])) << column;
        for (std::size_t i = static_cast<std::size_t>(40 * s.out_columns()); i < out.size(); ++i)
            ASSERT_TRUE(std::isfinite(out[i])) << "the other document";
    }
}

TEST_F(Attention, RefusesWrongShapes) {
    const Layout layout = layout_of({4});
    const Tensor qkv = Tensor::zeros({4, 64}, DType::f32);
    EXPECT_THROW(attention(qkv, layout, {3, 2, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout, {2, 2, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout_of({5}), {2, 1, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout, {2, 1, 16, 0}, 0), Error);
}

}   // namespace
}   // namespace trainer::test
