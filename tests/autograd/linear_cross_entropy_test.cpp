#include "autograd/ops/linear_cross_entropy.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "autograd/cpu/isa.h"
#include "autograd/quant/dense.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {
namespace {

using Numbers = std::vector<double>;

Numbers doubles(const Tensor& tensor) {
    const std::vector<float> values = converted(tensor, DType::f32).to_vector<float>();
    return Numbers(values.begin(), values.end());
}

double relative_error(const Numbers& found, const Numbers& expected) {
    EXPECT_EQ(found.size(), expected.size());
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        difference += (found[i] - expected[i]) * (found[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return std::sqrt(difference / (norm + 1e-300));
}

struct Result {
    double loss = 0, correct = 0, entropy = 0;
    Numbers dhidden, dweight, da, db;
};

// A head with all that its gradients need, and the same in float64, written out.
struct Head {
    std::int64_t tokens, width, vocabulary, rank = 3;
    Parameter weight{"lm_head.weight", {vocabulary, width}};
    Parameter a{"a", {rank, width}}, b{"b", {vocabulary, rank}};
    std::unique_ptr<DenseWeight> stored;
    LinearTerms terms;
    Layout layout;
    Tensor hidden, targets;
    float seed = 0.25f;

    Head(DType dtype, std::int64_t n, std::int64_t c, std::int64_t v, bool identity = false)
        : tokens(n), width(c), vocabulary(v) {
        std::mt19937 random(17);
        std::normal_distribution<float> normal;
        stored = std::make_unique<DenseWeight>(std::vector<Parameter*>{&weight}, DType::f32, dtype, Place::cpu());
        const auto draw = [&](Shape shape, float deviation) {
            std::vector<float> values(static_cast<std::size_t>(shape.elements()));
            for (float& value : values) value = deviation * normal(random);
            return Tensor::from<float>(values, shape);
        };
        Tensor values = draw(weight.shape, 0.3f);
        if (identity)
            for (std::int64_t i = 0; i < values.elements(); ++i)
                values.data<float>()[i] = i / width == i % width ? 1.0f : 0.0f;
        copy(values, weight.value);
        a.value = draw(a.shape, 0.3f);
        b.value = draw(b.shape, 0.3f);
        for (Parameter* parameter : {&weight, &a, &b}) {
            parameter->changed();
            parameter->trainable = true;
        }
        terms.weight = stored.get();
        terms.dense = {{0, vocabulary, &weight, nullptr}};
        hidden = converted(draw({tokens, width}, identity ? 3.0f : 1.0f), dtype);
        std::vector<std::int32_t> wanted;
        for (std::int64_t i = 0; i < tokens; ++i)
            wanted.push_back(random() % 3 == 0 ? ignored_target
                                               : static_cast<std::int32_t>(random() % static_cast<unsigned>(v)));
        targets = Tensor::from<std::int32_t>(wanted, {tokens});
    }

    void adapt() { terms.low_rank = {{0, vocabulary, &a, &b, 0.7f, 0.0f, 9}}; }

    Result run(std::int64_t chunk_rows = 0, bool want_hidden = true) {
        Tape tape;
        Tensor x = hidden;
        if (want_hidden) tape.want(x);
        CrossEntropySums sums;
        {
            const Recording recording(tape);
            sums = linear_cross_entropy(x, terms, targets, layout, true, chunk_rows);
        }
        Result result{
            *sums.loss.data<float>(), *sums.correct.data<float>(), *sums.entropy.data<float>(), {}, {}, {}, {}};
        if (tape.size() > 0) tape.backward(sums.loss, Tensor::from<float>(std::vector<float>{seed}, {1}));
        if (want_hidden) result.dhidden = doubles(tape.gradient(x));
        const auto take = [](Parameter& parameter) {
            Numbers out = parameter.gradient.defined() ? doubles(parameter.gradient) : Numbers();
            parameter.gradient = Tensor();
            return out;
        };
        result.dweight = take(weight);
        result.da = take(a);
        result.db = take(b);
        return result;
    }

    Result exact() const {
        const DType dtype = hidden.dtype();
        const bool adapted = !terms.low_rank.empty();
        const double scale = adapted ? static_cast<double>(terms.low_rank[0].scale) : 0;
        const Numbers x = doubles(hidden), w = doubles(converted(weight.value, dtype));
        const Numbers down = doubles(converted(a.value, dtype)), up = doubles(converted(b.value, dtype));
        const std::vector<std::int32_t> wanted = targets.to_vector<std::int32_t>();
        const auto index = [](std::int64_t row, std::int64_t columns, std::int64_t column) {
            return static_cast<std::size_t>(row * columns + column);
        };
        Result out;
        out.dhidden.resize(x.size());
        out.dweight.resize(w.size());
        out.da.resize(down.size());
        out.db.resize(up.size());
        for (std::int64_t n = 0; n < tokens; ++n) {
            const std::int32_t target = wanted[static_cast<std::size_t>(n)];
            if (target == ignored_target) continue;
            Numbers logits(static_cast<std::size_t>(vocabulary)), h(static_cast<std::size_t>(rank));
            for (std::int64_t r = 0; r < rank; ++r)
                for (std::int64_t c = 0; c < width; ++c)
                    h[static_cast<std::size_t>(r)] += scale * down[index(r, width, c)] * x[index(n, width, c)];
            for (std::int64_t v = 0; v < vocabulary; ++v) {
                double& logit = logits[static_cast<std::size_t>(v)];
                for (std::int64_t c = 0; c < width; ++c) logit += w[index(v, width, c)] * x[index(n, width, c)];
                for (std::int64_t r = 0; adapted && r < rank; ++r)
                    logit += up[index(v, rank, r)] * h[static_cast<std::size_t>(r)];
            }
            const std::size_t best =
                static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
            const double largest = logits[best];
            double sum = 0;
            for (const double logit : logits) sum += std::exp(logit - largest);
            const double log_sum = largest + std::log(sum);
            out.loss += log_sum - logits[static_cast<std::size_t>(target)];
            out.correct += best == static_cast<std::size_t>(target) ? 1 : 0;
            Numbers g(static_cast<std::size_t>(rank));
            for (std::int64_t v = 0; v < vocabulary; ++v) {
                const double log_p = logits[static_cast<std::size_t>(v)] - log_sum, p = std::exp(log_p);
                out.entropy -= p * log_p;
                const double d = static_cast<double>(seed) * (p - (v == target ? 1 : 0));
                for (std::int64_t c = 0; c < width; ++c) {
                    out.dhidden[index(n, width, c)] += d * w[index(v, width, c)];
                    out.dweight[index(v, width, c)] += d * x[index(n, width, c)];
                }
                for (std::int64_t r = 0; adapted && r < rank; ++r) {
                    g[static_cast<std::size_t>(r)] += scale * d * up[index(v, rank, r)];
                    out.db[index(v, rank, r)] += d * h[static_cast<std::size_t>(r)];
                }
            }
            for (std::int64_t r = 0; adapted && r < rank; ++r)
                for (std::int64_t c = 0; c < width; ++c) {
                    out.da[index(r, width, c)] += g[static_cast<std::size_t>(r)] * x[index(n, width, c)];
                    out.dhidden[index(n, width, c)] += g[static_cast<std::size_t>(r)] * down[index(r, width, c)];
                }
        }
        return out;
    }
};

class LinearCrossEntropy : public ::testing::TestWithParam<DType> {
protected:
    void SetUp() override { poison_new_memory(true); }
    void TearDown() override { poison_new_memory(false); }
    double of(double f32, double bf16) const { return GetParam() == DType::f32 ? f32 : bf16; }
};

TEST_P(LinearCrossEntropy, SoftmaxOnTheSameLogits) {
    Head head(GetParam(), 200, 307, 307, true);   // W = 1: the logits are the hidden values
    const Result found = head.run(), expected = head.exact();
    EXPECT_NEAR(found.loss, expected.loss, of(1e-6, 1e-5) * expected.loss);
    EXPECT_NEAR(found.entropy, expected.entropy, of(1e-6, 1e-5) * expected.entropy);
    EXPECT_EQ(found.correct, expected.correct);
    EXPECT_LT(relative_error(found.dhidden, expected.dhidden), of(1e-5, 3e-3));
    EXPECT_LT(relative_error(found.dweight, expected.dweight), of(1e-5, 3e-3));
}

TEST_P(LinearCrossEntropy, AgreesWithFloat64WithAdapters) {
    Head head(GetParam(), 90, 33, 501);
    head.adapt();
    const Result expected = head.exact();
    for (const std::int64_t chunk_rows : {0, 1, 7, 64}) {
        const Result found = head.run(chunk_rows);
        EXPECT_NEAR(found.loss, expected.loss, of(1e-5, 2e-3) * expected.loss);
        EXPECT_NEAR(found.entropy, expected.entropy, of(1e-5, 2e-3) * expected.entropy);
        EXPECT_LT(relative_error(found.dhidden, expected.dhidden), of(1e-5, 8e-3));
        EXPECT_LT(relative_error(found.dweight, expected.dweight), of(1e-5, 8e-3));
        EXPECT_LT(relative_error(found.da, expected.da), of(1e-5, 8e-3));
        EXPECT_LT(relative_error(found.db, expected.db), of(1e-5, 8e-3));
    }
}

TEST_P(LinearCrossEntropy, OnlyWhatIsWantedIsComputed) {
    Head head(GetParam(), 60, 24, 100), frozen(GetParam(), 60, 24, 100);
    const Result full = head.run();
    frozen.weight.trainable = false;
    const Result only_hidden = frozen.run();
    EXPECT_EQ(only_hidden.dhidden, full.dhidden);
    EXPECT_TRUE(only_hidden.dweight.empty());
    const Result only_weight = head.run(0, false);
    EXPECT_EQ(only_weight.dweight, full.dweight);
    const CrossEntropySums evaluated = linear_cross_entropy(head.hidden, head.terms, head.targets, head.layout, false);
    EXPECT_EQ(*evaluated.loss.data<float>(), static_cast<float>(full.loss));
    EXPECT_EQ(*evaluated.entropy.data<float>(), static_cast<float>(full.entropy));
    EXPECT_LT(evaluated.loss.slot(), 0);
}

TEST_P(LinearCrossEntropy, WithoutTrainedTokensAllIsZero) {
    Head head(GetParam(), 5, 8, 30);
    head.weight.trainable = false;
    head.targets = Tensor::from<std::int32_t>(std::vector<std::int32_t>(5, ignored_target), {5});
    const Result found = head.run();
    EXPECT_EQ(found.loss, 0);
    EXPECT_EQ(found.correct, 0);
    EXPECT_EQ(found.dhidden, Numbers(40, 0.0));
}

TEST_P(LinearCrossEntropy, TheLowestIndexWinsTies) {
    Head head(GetParam(), 3, 4, 4, true);
    head.hidden =
        converted(Tensor::from<float>(std::vector<float>{2, 2, 1, 0, 2, 2, 1, 0, 0, 0, 0, 0}, {3, 4}), GetParam());
    head.targets = Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 1, 0}, {3});
    EXPECT_EQ(head.run().correct, 2);
}

TEST_P(LinearCrossEntropy, ExtremeLogitsStayFinite) {
    Head head(GetParam(), 2, 4, 4, true);
    head.hidden = converted(Tensor::from<float>(std::vector<float>{3e4f, -3e4f, 0, 0, -200, 100, 100, -1e30f}, {2, 4}),
                            GetParam());
    head.targets = Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 2}, {2});
    const Result found = head.run();
    EXPECT_NEAR(found.loss, std::log(2.0), 1e-6);
    EXPECT_NEAR(found.entropy, std::log(2.0), 1e-6);
    for (const double value : found.dhidden) EXPECT_TRUE(std::isfinite(value));
    head.hidden = converted(Tensor::from<float>(std::vector<float>(8, std::numeric_limits<float>::quiet_NaN()), {2, 4}),
                            GetParam());
    EXPECT_TRUE(std::isnan(head.run().loss));
}

TEST_P(LinearCrossEntropy, ThreadsChangeNoBit) {
    const int before = omp_get_max_threads();
    Head head(GetParam(), 150, 48, 1000);
    head.adapt();
    omp_set_num_threads(1);
    const Result expected = head.run();
    for (const int threads : {2, 3, 5, 16}) {
        omp_set_num_threads(threads);
        const Result found = head.run();
        EXPECT_EQ(found.loss, expected.loss) << threads;
        EXPECT_EQ(found.entropy, expected.entropy) << threads;
        EXPECT_EQ(found.dhidden, expected.dhidden) << threads;
        EXPECT_EQ(found.dweight, expected.dweight) << threads;
        EXPECT_EQ(found.da, expected.da) << threads;
        EXPECT_EQ(found.db, expected.db) << threads;
    }
    omp_set_num_threads(before);
}

TEST_P(LinearCrossEntropy, EveryInstructionSetHoldsTheBounds) {
    const Isa before = isa();
    Head head(GetParam(), 40, 83, 83, true);
    const Result expected = head.exact();
    for (const Isa variant : {Isa::v2, Isa::v3, Isa::v4, Isa::v4bf16, Isa::v4amx}) {
        if (variant > supported_isa()) continue;
        force_isa(variant);
        const Result found = head.run();
        EXPECT_NEAR(found.loss, expected.loss, of(1e-6, 1e-5) * expected.loss) << name_of(variant);
        EXPECT_LT(relative_error(found.dhidden, expected.dhidden), of(1e-5, 3e-3)) << name_of(variant);
    }
    force_isa(before);
}

TEST_P(LinearCrossEntropy, RefusesTargetsBeyondTheVocabulary) {
    Head head(GetParam(), 1, 4, 4);
    for (const std::int32_t target : {4, -1, -101}) {
        head.targets = Tensor::from<std::int32_t>(std::vector<std::int32_t>{target}, {1});
        EXPECT_THROW(head.run(), Error) << target;
    }
}

INSTANTIATE_TEST_SUITE_P(DTypes, LinearCrossEntropy, ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& test) { return std::string(name_of(test.param)); });

}   // namespace
}   // namespace trainer
