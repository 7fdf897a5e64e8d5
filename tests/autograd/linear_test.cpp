#include "autograd/ops/linear.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <memory>
#include <random>

#include "autograd/ops/dropout.h"
#include "autograd/quant/dense.h"
#include "autograd/tape.h"

namespace trainer {
namespace {

using Matrix = std::vector<double>;   // row by row

Matrix doubles(const Tensor& tensor) {
    Matrix out;
    if (tensor.dtype() == DType::f32) {
        for (const float value : tensor.to_vector<float>()) out.push_back(value);
    } else {
        for (const bf16 value : tensor.to_vector<bf16>()) out.push_back(static_cast<float>(value));
    }
    return out;
}

double& at(Matrix& matrix, std::int64_t columns, std::int64_t row, std::int64_t column) {
    return matrix[static_cast<std::size_t>(row * columns + column)];
}
double at(const Matrix& matrix, std::int64_t columns, std::int64_t row, std::int64_t column) {
    return matrix[static_cast<std::size_t>(row * columns + column)];
}

double relative_error(const Matrix& found, const Matrix& expected) {
    EXPECT_EQ(found.size(), expected.size());
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        difference += (found[i] - expected[i]) * (found[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return std::sqrt(difference / (norm + 1e-300));
}

Tensor normal(std::mt19937& random, Shape shape, DType dtype, float deviation = 1) {
    std::normal_distribution<float> draw(0, deviation);
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = draw(random);
    return converted(Tensor::from<float>(values, shape), dtype);
}

// A fused group of two members with biases, an adapter on each, the second with dropout.
struct Group {
    static constexpr std::int64_t tokens = 300, in = 65, first = 40, second = 27, out = first + second, rank = 5;
    Parameter w1{"w1", {first, in}}, w2{"w2", {second, in}}, b1{"b1", {first}}, b2{"b2", {second}};
    Parameter a1{"a1", {rank, in}}, a2{"a2", {rank, in}}, up1{"up1", {first, rank}}, up2{"up2", {second, rank}};
    std::unique_ptr<DenseWeight> weight;
    LinearTerms terms;
    Layout layout;
    Tensor x, seed;

    Group(DType dtype, float dropout, bool dense_trainable) {
        std::mt19937 random(11);
        weight = std::make_unique<DenseWeight>(std::vector<Parameter*>{&w1, &w2}, dense_trainable ? DType::f32 : dtype,
                                               dtype, Place::cpu());
        for (Parameter* parameter : {&w1, &w2}) {
            Tensor values = normal(random, parameter->shape, DType::f32, 0.1f);
            copy(values, parameter->value);
            parameter->changed();
            parameter->trainable = dense_trainable;
        }
        for (Parameter* parameter : {&b1, &b2, &a1, &a2, &up1, &up2}) {
            parameter->value = normal(random, parameter->shape, DType::f32, 0.2f);
            parameter->changed();
        }
        for (Parameter* parameter : {&b1, &b2}) parameter->trainable = dense_trainable;
        for (Parameter* parameter : {&a1, &a2, &up1, &up2}) parameter->trainable = true;
        terms.weight = weight.get();
        terms.dense = {{0, first, &w1, &b1}, {first, out, &w2, &b2}};
        terms.low_rank = {{0, first, &a1, &up1, 1.0f, 0.0f, 1}, {first, out, &a2, &up2, 0.7f, dropout, 2}};
        x = normal(random, {tokens, in}, dtype);
        seed = normal(random, {tokens, out}, dtype);
        std::vector<std::uint64_t> keys;
        for (std::int64_t n = 0; n < tokens; ++n) keys.push_back(static_cast<std::uint64_t>(n) * 77 + 5);
        layout.offsets = {0, static_cast<std::int32_t>(tokens)};
        layout.token_keys = Tensor::from<std::uint64_t>(keys, {tokens});
    }

    struct Result {
        Matrix y, dx;
        std::vector<Matrix> gradients;   // w1 w2 b1 b2 a1 a2 up1 up2, empty when there is none
    };

    std::vector<Parameter*> parameters() { return {&w1, &w2, &b1, &b2, &a1, &a2, &up1, &up2}; }

    Result run(bool want_dx = true) {
        Tape tape;
        Tensor input = x;
        if (want_dx) tape.want(input);
        Tensor y;
        {
            const Recording recording(tape);
            y = linear(input, terms, layout, true);
        }
        Result result;
        result.y = doubles(y);
        tape.backward(y, seed);
        if (want_dx) result.dx = doubles(tape.gradient(input));
        for (Parameter* parameter : parameters()) {
            result.gradients.push_back(parameter->gradient.defined() ? doubles(parameter->gradient) : Matrix());
            parameter->gradient = Tensor();
        }
        return result;
    }

    // The same in float64, written out.
    Result exact() {
        const DType dtype = x.dtype();
        Result result;
        result.y.assign(static_cast<std::size_t>(tokens * out), 0);
        result.dx.assign(static_cast<std::size_t>(tokens * in), 0);
        for (Parameter* parameter : parameters())
            result.gradients.emplace_back(static_cast<std::size_t>(parameter->shape.elements()), 0.0);
        const Matrix input = doubles(x), dy = doubles(seed);
        std::int64_t begin = 0;
        for (std::size_t member = 0; member < 2; ++member) {
            const LowRankTerm& low = terms.low_rank[member];
            const std::int64_t width = member == 0 ? first : second;
            const Matrix w = doubles(converted(parameters()[member]->value, dtype));
            const Matrix bias = doubles(parameters()[2 + member]->value);
            const Matrix a = doubles(converted(low.a->value, dtype)), b = doubles(converted(low.b->value, dtype));
            Tensor ones =
                converted(Tensor::from<float>(std::vector<float>(tokens * in, 1.0f), {tokens, in}), DType::f32);
            if (low.dropout > 0) apply_dropout(ones, ones, low.dropout, low.site, layout.token_keys);
            const Matrix mask = doubles(ones);
            for (std::int64_t n = 0; n < tokens; ++n) {
                Matrix h(rank, 0.0), g(rank, 0.0);
                for (std::int64_t r = 0; r < rank; ++r) {
                    for (std::int64_t k = 0; k < in; ++k)
                        h[static_cast<std::size_t>(r)] +=
                            low.scale * at(a, in, r, k) * at(mask, in, n, k) * at(input, in, n, k);
                    for (std::int64_t o = 0; o < width; ++o)
                        g[static_cast<std::size_t>(r)] += low.scale * at(dy, out, n, begin + o) * at(b, rank, o, r);
                }
                for (std::int64_t o = 0; o < width; ++o) {
                    const double upstream = at(dy, out, n, begin + o);
                    double sum = bias[static_cast<std::size_t>(o)];
                    for (std::int64_t k = 0; k < in; ++k) {
                        sum += at(w, in, o, k) * at(input, in, n, k);
                        at(result.gradients[member], in, o, k) += upstream * at(input, in, n, k);
                        at(result.dx, in, n, k) += upstream * at(w, in, o, k);
                    }
                    result.gradients[2 + member][static_cast<std::size_t>(o)] += upstream;
                    for (std::int64_t r = 0; r < rank; ++r) {
                        sum += h[static_cast<std::size_t>(r)] * at(b, rank, o, r);
                        at(result.gradients[6 + member], rank, o, r) += upstream * h[static_cast<std::size_t>(r)];
                    }
                    at(result.y, out, n, begin + o) = sum;
                }
                for (std::int64_t r = 0; r < rank; ++r)
                    for (std::int64_t k = 0; k < in; ++k) {
                        const double through = g[static_cast<std::size_t>(r)] * at(mask, in, n, k);
                        at(result.gradients[4 + member], in, r, k) += through * at(input, in, n, k);
                        at(result.dx, in, n, k) += through * at(a, in, r, k);
                    }
            }
            begin += width;
        }
        return result;
    }
};

class Linear : public ::testing::TestWithParam<DType> {
protected:
    void SetUp() override { poison_new_memory(true); }
    void TearDown() override { poison_new_memory(false); }
    double matmul_bound() const { return GetParam() == DType::f32 ? 1e-5 : 5e-3; }   // several roundings in bf16
    double gradient_bound() const { return GetParam() == DType::f32 ? 1e-5 : 8e-3; }
};

TEST_P(Linear, AgreesWithFloat64) {
    for (const float dropout : {0.0f, 0.25f}) {
        Group group(GetParam(), dropout, true);
        const Group::Result found = group.run(), expected = group.exact();
        EXPECT_LT(relative_error(found.y, expected.y), matmul_bound());
        EXPECT_LT(relative_error(found.dx, expected.dx), matmul_bound());
        for (std::size_t i = 0; i < expected.gradients.size(); ++i)
            EXPECT_LT(relative_error(found.gradients[i], expected.gradients[i]), gradient_bound())
                << group.parameters()[i]->name;
    }
}

TEST_P(Linear, FrozenWeightsGetNoGradientAndTheSameRest) {
    Group frozen(GetParam(), 0.25f, false), trained(GetParam(), 0.25f, true);
    const Group::Result bare = frozen.run(), full = trained.run();
    EXPECT_EQ(bare.y, full.y);
    EXPECT_EQ(bare.dx, full.dx);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(bare.gradients[i].empty());
    for (std::size_t i = 4; i < 8; ++i) EXPECT_EQ(bare.gradients[i], full.gradients[i]);
    const Group::Result first_layer = frozen.run(false);
    for (std::size_t i = 4; i < 8; ++i) EXPECT_EQ(first_layer.gradients[i], full.gradients[i]);
}

TEST_P(Linear, GradientsAddUp) {
    Group group(GetParam(), 0.0f, true);
    const Group::Result once = group.run();
    Tape tape;
    Tensor y, z;
    {
        const Recording recording(tape);
        y = linear(group.x, group.terms, group.layout, true);
    }
    tape.backward(y, group.seed);
    {
        const Recording recording(tape);
        z = linear(group.x, group.terms, group.layout, true);
    }
    tape.backward(z, group.seed);
    for (std::size_t i = 0; i < once.gradients.size(); ++i) {
        Matrix twice = once.gradients[i];
        for (double& value : twice) value *= 2;
        EXPECT_LT(relative_error(doubles(group.parameters()[i]->gradient), twice), 1e-6);
    }
}

TEST_P(Linear, AFrozenWeightKeepsNothingOfItsInput) {
    Group group(GetParam(), 0.0f, false);
    group.terms.low_rank.clear();
    Tape tape;
    Tensor y;
    Tensor x = Tensor::zeros({Group::tokens, Group::in}, GetParam());
    tape.want(x);
    {
        const Recording recording(tape);
        y = linear(x, group.terms, group.layout, true);
    }
    EXPECT_TRUE(x.sole_owner());
    EXPECT_EQ(tape.size(), 1u);
}

TEST_P(Linear, NothingIsRecordedWithoutNeed) {
    Group group(GetParam(), 0.0f, false);
    for (Parameter* parameter : group.parameters()) parameter->trainable = false;
    Tape tape;
    const Recording recording(tape);
    const Tensor y = linear(group.x, group.terms, group.layout, true);
    EXPECT_EQ(tape.size(), 0u);
    EXPECT_LT(y.slot(), 0);
}

TEST_P(Linear, DropoutIsOffInEvaluation) {
    Group with(GetParam(), 0.5f, false), without(GetParam(), 0.0f, false);
    EXPECT_EQ(doubles(linear(with.x, with.terms, with.layout, false)),
              doubles(linear(without.x, without.terms, without.layout, true)));
}

TEST_P(Linear, ThreadsChangeNoBit) {
    const int before = omp_get_max_threads();
    Group group(GetParam(), 0.25f, true);
    omp_set_num_threads(1);
    const Group::Result expected = group.run();
    for (const int threads : {2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        const Group::Result found = group.run();
        EXPECT_EQ(found.y, expected.y) << threads;
        EXPECT_EQ(found.dx, expected.dx) << threads;
        EXPECT_EQ(found.gradients, expected.gradients) << threads;
    }
    omp_set_num_threads(before);
}

TEST_P(Linear, MetaAllocatesTheSame) {
    const auto peak = [&](Place place) {
        Parameter w("w", {64, 32}), a("a", {4, 32}), b("b", {64, 4});
        DenseWeight weight({&w}, GetParam(), GetParam(), place);
        for (Parameter* parameter : {&a, &b}) {
            parameter->value = Tensor::zeros(parameter->shape, DType::f32, place);
            parameter->trainable = true;
        }
        LinearTerms terms;
        terms.weight = &weight;
        terms.low_rank = {{0, 64, &a, &b, 0.5f, 0.1f, 3}};
        Layout layout;
        layout.token_keys = Tensor::zeros({100}, DType::u64, place);
        Tensor x = Tensor::zeros({100, 32}, GetParam(), place);
        reset_memory_peak(place);
        const std::size_t start = memory_use(place).total();
        Tape tape;
        tape.want(x);
        Tensor y;
        {
            const Recording recording(tape);
            y = linear(x, terms, layout, true);
        }
        tape.backward(y, Tensor::zeros({100, 64}, GetParam(), place));
        return memory_use(place).peak_total() - start;
    };
    EXPECT_EQ(peak(Place::meta()), peak(Place::cpu()));
}

INSTANTIATE_TEST_SUITE_P(DTypes, Linear, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}   // namespace
}   // namespace trainer
