#include "autograd/ops/attention.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/cpu/isa.h"
#include "autograd/random.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {
namespace {

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

Layout layout_of(const Lengths& lengths, Layout::Kind kind = Layout::Kind::causal) {
    Layout layout;
    layout.kind = kind;
    for (std::int32_t length : lengths) {
        layout.offsets.push_back(layout.offsets.back() + length);
        layout.longest = std::max(layout.longest, length);
    }
    return layout;
}

// Roughly normal numbers that the dtype holds exactly.
Numbers random_numbers(std::int64_t count, DType dtype, std::uint64_t seed, double scale = 1) {
    Numbers out(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto words = philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0});
        double sum = -2;
        for (std::uint32_t word : words) sum += uniform(word);
        const auto value = static_cast<float>(sum * std::sqrt(3.0) * scale);
        out[i] = dtype == DType::bf16 ? static_cast<float>(bf16(value)) : value;
    }
    return out;
}

Tensor tensor_of(const Numbers& numbers, std::int64_t rows, std::int64_t columns, DType dtype) {
    Tensor out = Tensor::empty({rows, columns}, dtype);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        if (dtype == DType::f32) {
            out.data<float>()[i] = static_cast<float>(numbers[i]);
        } else {
            out.data<bf16>()[i] = bf16(static_cast<float>(numbers[i]));
        }
    }
    return out;
}

Numbers numbers_of(const Tensor& tensor) {
    Numbers out;
    if (tensor.dtype() == DType::f32) {
        for (float value : tensor.to_vector<float>()) out.push_back(value);
    } else {
        for (bf16 value : tensor.to_vector<bf16>()) out.push_back(static_cast<float>(value));
    }
    return out;
}

double relative_error(const Numbers& a, const Numbers& b) {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return a.size() == b.size() && std::isfinite(difference) ? std::sqrt(difference / norm) : INFINITY;
}

// The columns begin … end-1 of rows of `columns` numbers.
Numbers slice(const Numbers& rows, int columns, int begin, int end) {
    Numbers out;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const int column = static_cast<int>(i) % columns;
        if (begin <= column && column < end) out.push_back(rows[i]);
    }
    return out;
}

struct Outcome {
    Numbers out;
    Numbers gradient;   // of qkv
};

// Attention and its gradient straight from the definition, in double.
Outcome twin(const Numbers& qkv, const Numbers& dout, const Layout& layout, const Shapes& s) {
    const int D = s.head_dim;
    const double scale = s.shape().scale;
    Outcome result{Numbers(dout.size()), Numbers(qkv.size())};
    for (std::size_t d = 0; d + 1 < layout.offsets.size(); ++d)
        for (int head = 0; head < s.heads; ++head)
            for (int i = layout.offsets[d]; i < layout.offsets[d + 1]; ++i) {
                const int kv = head / (s.heads / s.kv_heads);
                const int end = layout.kind == Layout::Kind::causal ? i + 1 : layout.offsets[d + 1];
                auto at = [&](int token, int column) { return static_cast<std::size_t>(token * s.columns() + column); };
                const std::size_t query = at(i, head * D);
                const auto row = static_cast<std::size_t>(i * s.out_columns() + head * D);
                Numbers weight;
                double most = -INFINITY;
                for (int j = layout.offsets[d]; j < end; ++j) {
                    double score = 0;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c)
                        score += qkv[query + c] * qkv[at(j, (s.heads + kv) * D) + c];
                    weight.push_back(score * scale);
                    most = std::max(most, score * scale);
                }
                double total = 0;
                for (double& w : weight) total += w = std::exp(w - most);
                double delta = 0;
                for (int j = layout.offsets[d]; j < end; ++j) {
                    double& w = weight[static_cast<std::size_t>(j - layout.offsets[d])];
                    w /= total;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c) {
                        const double value = qkv[at(j, (s.heads + s.kv_heads + kv) * D) + c];
                        result.out[row + c] += w * value;
                        delta += w * value * dout[row + c];
                    }
                }
                for (int j = layout.offsets[d]; j < end; ++j) {
                    const double w = weight[static_cast<std::size_t>(j - layout.offsets[d])];
                    const std::size_t key = at(j, (s.heads + kv) * D);
                    const std::size_t value = at(j, (s.heads + s.kv_heads + kv) * D);
                    double dweight = 0;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c)
                        dweight += qkv[value + c] * dout[row + c];
                    const double dscore = w * (dweight - delta) * scale;
                    for (std::size_t c = 0; c < static_cast<std::size_t>(D); ++c) {
                        result.gradient[query + c] += dscore * qkv[key + c];
                        result.gradient[key + c] += dscore * qkv[query + c];
                        result.gradient[value + c] += w * dout[row + c];
                    }
                }
            }
    return result;
}

struct Tensors {
    Tensor out;
    Tensor gradient;
};

Tensors run(Tensor qkv, const Tensor& dout, const Layout& layout, const Shapes& s) {
    Tape tape;
    tape.want(qkv);
    Tensor out;
    {
        const Recording record(tape);
        out = attention(qkv, layout, s.shape(), 0);
    }
    tape.backward(out, dout);
    return {out, tape.gradient(qkv)};
}

bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.contiguous() && b.contiguous() && a.dtype() == b.dtype() &&
           std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

class Poisoned : public testing::Test {
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
using Attention = Poisoned;

// Compares with the twin, part by part. Bounds: docs/numerics.md; f32 is held to what it reaches.
void expect_near_twin(const Lengths& lengths, const Shapes& s, Layout::Kind kind, DType dtype, double scale = 1) {
    SCOPED_TRACE(std::string(name_of(dtype)) + " " + std::string(isa_name()) + " heads " + std::to_string(s.heads) +
                 "/" + std::to_string(s.kv_heads) + " of " + std::to_string(s.head_dim) + ", first document " +
                 std::to_string(lengths[0]));
    const Layout layout = layout_of(lengths, kind);
    const std::int64_t tokens = layout.tokens();
    const Numbers qkv = random_numbers(tokens * s.columns(), dtype, 5, scale);
    const Numbers dout = random_numbers(tokens * s.out_columns(), dtype, 6);
    const Outcome expected = twin(qkv, dout, layout, s);
    const Tensors found =
        run(tensor_of(qkv, tokens, s.columns(), dtype), tensor_of(dout, tokens, s.out_columns(), dtype), layout, s);
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

const Lengths mixed = {31, 1, 64, 2, 65, 129, 17};

TEST_F(Attention, AgreesWithDouble) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional}) {
            for (int head_dim : {64, 32, 16, 80, 128, 6}) expect_near_twin(mixed, {6, 2, head_dim}, kind, dtype);
            expect_near_twin(mixed, {9, 3, 64}, kind, dtype);
            expect_near_twin(mixed, {4, 4, 64}, kind, dtype);
            expect_near_twin(mixed, {8, 1, 32}, kind, dtype);
            expect_near_twin(mixed, {20, 1, 16}, kind, dtype);
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
            expect_near_twin(mixed, {6, 2, 80}, Layout::Kind::causal, dtype);
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
    const Outcome expected = twin(qkv, dout, layout, s);
    const Tensors found =
        run(tensor_of(qkv, 200, s.columns(), DType::f32), tensor_of(dout, 200, s.out_columns(), DType::f32), layout, s);
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

TEST_F(Attention, BitsDoNotDependOnThreads) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (Layout::Kind kind : {Layout::Kind::causal, Layout::Kind::bidirectional})
            for (const Lengths& lengths : {Lengths{900}, mixed}) {
                const Shapes s{6, 2, 32};
                const Layout layout = layout_of(lengths, kind);
                const std::int64_t tokens = layout.tokens();
                const Tensor qkv =
                    tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
                const Tensor dout =
                    tensor_of(random_numbers(tokens * s.out_columns(), dtype, 6), tokens, s.out_columns(), dtype);
                omp_set_num_threads(1);
                const Tensors one = run(qkv, dout, layout, s);
                for (int threads : {2, 3, 5, 16}) {
                    omp_set_num_threads(threads);
                    const Tensors many = run(qkv, dout, layout, s);
                    EXPECT_TRUE(same_bits(one.out, many.out)) << threads;
                    EXPECT_TRUE(same_bits(one.gradient, many.gradient)) << threads;
                }
            }
}

TEST_F(Attention, PackedDocumentsAreBitEqualToSingleOnes) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{9, 3, 64};
        const Layout layout = layout_of(mixed);
        const std::int64_t tokens = layout.tokens();
        const Tensor qkv = tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
        const Tensor dout =
            tensor_of(random_numbers(tokens * s.out_columns(), dtype, 6), tokens, s.out_columns(), dtype);
        const Tensors packed = run(qkv, dout, layout, s);
        for (std::size_t d = 0; d < mixed.size(); ++d) {
            const std::int64_t begin = layout.offsets[d];
            const std::int64_t end = layout.offsets[d + 1];
            const Tensors alone = run(qkv.row_range(begin, end), dout.row_range(begin, end), layout_of({mixed[d]}), s);
            EXPECT_TRUE(same_bits(packed.out.row_range(begin, end), alone.out)) << mixed[d];
            EXPECT_TRUE(same_bits(packed.gradient.row_range(begin, end), alone.gradient)) << mixed[d];
        }
    }
}

TEST_F(Attention, RowsMayBeStrided) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{4, 2, 32};
        const Layout layout = layout_of({70, 9});
        const Numbers wide = random_numbers(79 * (s.columns() + 24), dtype, 5);
        const Tensor view = tensor_of(wide, 79, s.columns() + 24, dtype).column_range(8, 8 + s.columns());
        const Tensor dense = tensor_of(numbers_of(view), 79, s.columns(), dtype);
        const Numbers wide_gradient = random_numbers(79 * (s.out_columns() + 8), dtype, 6);
        const Tensor dview =
            tensor_of(wide_gradient, 79, s.out_columns() + 8, dtype).column_range(8, 8 + s.out_columns());
        const Tensor ddense = tensor_of(numbers_of(dview), 79, s.out_columns(), dtype);
        const Tensors strided = run(view, dview, layout, s);
        const Tensors expected = run(dense, ddense, layout, s);
        EXPECT_TRUE(same_bits(strided.out, expected.out));
        EXPECT_TRUE(same_bits(strided.gradient, expected.gradient));
    }
}

KvCache cache_of(const Shapes& s, int layers, std::int64_t capacity, DType dtype) {
    KvCache cache;
    cache.capacity = capacity;
    for (int layer = 0; layer < layers; ++layer) {
        cache.keys.push_back(Tensor::empty({capacity, s.kv_heads * s.head_dim}, dtype));
        cache.values.push_back(Tensor::empty({capacity, s.kv_heads * s.head_dim}, dtype));
    }
    return cache;
}

// A prompt, some tokens at once, then one at a time: the same as all at once without a cache.
TEST_F(Attention, CacheAgreesWithTheWhole) {
    for (DType dtype : {DType::f32, DType::bf16})
        for (const Shapes& s : {Shapes{9, 3, 64}, Shapes{4, 4, 16}, Shapes{20, 1, 80}}) {
            const int tokens = 300;
            const Tensor qkv = tensor_of(random_numbers(tokens * s.columns(), dtype, 5), tokens, s.columns(), dtype);
            const Numbers whole = numbers_of(attention(qkv, layout_of({tokens}), s.shape(), 0));
            KvCache cache = cache_of(s, 2, tokens + 7, dtype);
            Numbers pieces;
            for (int count : {140, 30, 2, 1, 1, 1, 100, 1, 1, 23}) {
                Layout layout = layout_of({count});
                layout.cache = &cache;
                const Tensor out = attention(qkv.row_range(cache.length, cache.length + count), layout, s.shape(), 1);
                const Numbers numbers = numbers_of(out);
                pieces.insert(pieces.end(), numbers.begin(), numbers.end());
                cache.length += count;
            }
            ASSERT_EQ(cache.length, tokens);
            EXPECT_LT(relative_error(pieces, whole), dtype == DType::f32 ? 1e-6 : 4e-3);
        }
}

TEST_F(Attention, CacheRefusesWhatItCannotHold) {
    const Shapes s{2, 1, 16};
    KvCache cache = cache_of(s, 1, 8, DType::f32);
    cache.length = 6;
    Layout layout = layout_of({3});
    layout.cache = &cache;
    const Tensor qkv = tensor_of(random_numbers(3 * s.columns(), DType::f32, 5), 3, s.columns(), DType::f32);
    EXPECT_THROW(attention(qkv, layout, s.shape(), 0), Error);   // 9 tokens of 8
    layout = layout_of({1, 1});
    layout.cache = &cache;
    EXPECT_THROW(attention(qkv.row_range(0, 2), layout, s.shape(), 0), Error);   // two documents
    layout = layout_of({2});
    layout.cache = &cache;
    EXPECT_THROW(attention(qkv.row_range(0, 2), layout, s.shape(), 1), Error);   // no such layer
    Tape tape;
    const Recording record(tape);
    Tensor wanted = qkv.row_range(0, 2);
    tape.want(wanted);
    EXPECT_THROW(attention(wanted, layout, s.shape(), 0), Error);   // no gradient through a cache
}

TEST_F(Attention, RefusesWrongShapes) {
    const Layout layout = layout_of({4});
    const Tensor qkv = Tensor::zeros({4, 64}, DType::f32);
    EXPECT_THROW(attention(qkv, layout, {3, 2, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout, {2, 2, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout_of({5}), {2, 1, 16, 1}, 0), Error);
    EXPECT_THROW(attention(qkv, layout, {2, 1, 16, 0}, 0), Error);
}

// The plan counts what the run allocates.
TEST_F(Attention, MetaAllocatesTheSame) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const Shapes s{9, 3, 64};
        const Layout layout = layout_of({300, 20});
        std::size_t peaks[2];
        for (Place place : {Place::cpu(), Place::meta()}) {
            const std::size_t before = memory_use(place).total();
            reset_memory_peak(place);
            Tensor qkv = Tensor::zeros({320, s.columns()}, dtype, place);
            const Tensor dout = Tensor::zeros({320, s.out_columns()}, dtype, place);
            run(qkv, dout, layout, s);
            peaks[place.is_meta()] = memory_use(place).peak_total() - before;
        }
        EXPECT_EQ(peaks[0], peaks[1]);
    }
}

}   // namespace
}   // namespace trainer
