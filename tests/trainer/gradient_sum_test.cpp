#include "trainer/gradient_sum.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <random>

#include "comm/solo.h"
#include "configs/error.h"
#include "tests/support/thread_ranks.h"

namespace trainer::test {
namespace {

using Values = std::vector<float>;
const std::vector<std::int64_t> sizes = {3, 1024, 5000, 64, 2049};

Values random_values(std::mt19937& generator, std::int64_t elements) {
    std::normal_distribution<float> normal;
    Values values(static_cast<std::size_t>(elements));
    for (float& value : values) value = normal(generator) * std::exp2(static_cast<float>(generator() % 20));
    return values;
}

// The gradient of one leaf for one parameter; empty where the leaf has none.
Values gradient(std::int64_t leaf, std::size_t parameter) {
    if ((leaf + static_cast<std::int64_t>(parameter)) % 5 == 4) return {};
    std::mt19937 generator(static_cast<unsigned>(leaf * 100 + static_cast<std::int64_t>(parameter)));
    return random_values(generator, sizes[parameter]);
}

// The tree: the left part holds the largest power of two of leaves below their number.
Values tree(std::size_t parameter, std::int64_t begin, std::int64_t count) {
    if (count == 1) return gradient(begin, parameter);
    const auto left = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(count)) / 2);
    Values sum = tree(parameter, begin, left);
    const Values right = tree(parameter, begin + left, count - left);
    if (sum.empty()) return right;
    for (std::size_t i = 0; i < right.size(); ++i) sum[i] += right[i];
    return sum;
}

// One rank's parameters: three units, the second of one parameter.
struct RankParameters {
    ParameterSet set;
    std::vector<std::vector<Parameter*>> units;

    RankParameters() {
        std::vector<Parameter*> all;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            all.push_back(&set.declare("p" + std::to_string(i), Shape(sizes[i])));
            all.back()->value = Tensor::zeros(Shape(sizes[i]), DType::f32);
        }
        units = {{all[0], all[1]}, {all[2]}, {all[3], all[4]}};
    }

    void backward(std::int64_t leaf, GradientSum& sum) {
        std::size_t index = 0;
        for (const auto& unit : units)
            for (Parameter* parameter : unit) {
                const Values values = gradient(leaf, index++);
                if (!values.empty()) parameter->add_gradient(Tensor::from<float>(values, parameter->shape));
            }
        for (std::size_t unit = units.size() - 1; unit-- > 0;) sum.unit_done(unit);
        sum.add_leaf();
    }
};

struct Outcome {
    std::map<std::string, Values> sums;   // by parameter; what no rank holds stays NaN
    std::vector<double> norms;            // by rank
};

Outcome sum_over_ranks(int size, std::int64_t leaves, Determinism sums, Sharding sharding) {
    Outcome outcome;
    std::mutex mutex;
    run_ranks(size, [&](Communicator& ranks) {
        RankParameters parameters;
        const auto path = make_host_path(ranks, Place::cpu());
        const auto sum = make_gradient_sum(parameters.units, *path, sums, sharding);
        for (int step = 0; step < 2; ++step) {   // the second finds nothing of the first
            sum->begin(leaves);
            for (const std::int64_t leaf : sum->leaves_of(leaves)) parameters.backward(leaf, *sum);
            sum->finish();
            if (step == 0) sum->forget_gradients();
        }
        const double norm = sum->norm();
        const std::lock_guard lock(mutex);
        outcome.norms.push_back(norm);
        for (std::size_t i = 0; i < sum->slices().size(); ++i) {
            const ParameterSlice& slice = sum->slices()[i];
            Values& all = outcome.sums[slice.parameter->name];
            all.resize(static_cast<std::size_t>(slice.parameter->shape.elements()), std::nanf(""));
            if (!sum->gradients()[i].defined()) continue;
            const Values part = sum->gradients()[i].to_vector<float>();
            std::copy(part.begin(), part.end(), all.begin() + slice.begin);
        }
    });
    return outcome;
}

TEST(GradientSum, TheTreeDoesNotDependOnRanksOrSharding) {
    for (const std::int64_t leaves : {1, 2, 3, 7, 8, 13}) {
        double norm = -1;
        for (const int size : {1, 2, 3, 4, 5, 8})
            for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
                const Outcome outcome = sum_over_ranks(size, leaves, Determinism::strict, sharding);
                for (std::size_t i = 0; i < sizes.size(); ++i) {
                    Values expected = tree(i, 0, leaves);
                    const Values& found = outcome.sums.at("p" + std::to_string(i));
                    if (expected.empty() && std::isnan(found[0])) continue;
                    expected.resize(found.size());
                    EXPECT_EQ(found, expected) << leaves << " leaves, " << size << " ranks";
                }
                if (norm < 0) norm = outcome.norms[0];
                for (const double one : outcome.norms) EXPECT_EQ(one, norm);
            }
    }
}

TEST(GradientSum, RepeatableAndFastAreTheSameSumInAnotherOrder) {
    for (const Determinism sums : {Determinism::repeatable, Determinism::fast})
        for (const Sharding sharding : {Sharding::none, Sharding::optimizer}) {
            const Outcome outcome = sum_over_ranks(3, 8, sums, sharding);
            for (std::size_t i = 0; i < sizes.size(); ++i) {
                const Values expected = tree(i, 0, 8);
                const Values& found = outcome.sums.at("p" + std::to_string(i));
                double difference = 0, size = 0;
                for (std::size_t e = 0; e < expected.size(); ++e) {
                    difference += std::pow(expected[e] - found[e], 2);
                    size += std::pow(expected[e], 2);
                }
                EXPECT_LT(std::sqrt(difference / size), 1e-6);
            }
            EXPECT_EQ(sum_over_ranks(3, 8, sums, sharding).sums, outcome.sums);
        }
}

// More than travels together, one of them alone.
TEST(GradientSum, FastSumsOfLargeParameters) {
    const std::vector<std::int64_t> large = {5, (std::int64_t{8} << 20) + 3, 7, 1000, std::int64_t{8} << 20};
    run_ranks(2, [&](Communicator& ranks) {
        ParameterSet set;
        std::vector<Parameter*> unit;
        for (const std::int64_t elements : large)
            unit.push_back(&set.declare(format("p{}", elements), Shape(elements)));
        const auto path = make_host_path(ranks, Place::cpu());
        const auto sum = make_gradient_sum({unit}, *path, Determinism::fast, Sharding::none);
        sum->begin(2);
        for (Parameter* parameter : unit) {
            if (parameter->shape.elements() == 7 && ranks.rank() == 1) continue;   // has none here
            parameter->gradient = Tensor::zeros(parameter->shape, DType::f32);
            auto* values = parameter->gradient.data<float>();
            for (std::int64_t i = 0; i < parameter->shape.elements(); ++i)
                values[i] = static_cast<float>(i % 1000 + 1000 * ranks.rank());
        }
        sum->add_leaf();
        sum->finish();
        for (std::size_t p = 0; p < large.size(); ++p) {
            const auto* values = sum->gradients()[p].data<float>();
            std::int64_t wrong = 0;
            for (std::int64_t i = 0; i < large[p]; ++i) {
                const auto mine = static_cast<float>(i % 1000);
                wrong += values[i] != (large[p] == 7 ? mine : 2 * mine + 1000);
            }
            EXPECT_EQ(wrong, 0) << large[p];
        }
    });
}

TEST(GradientSum, FewBuffersAreHeld) {
    ParameterSet set;
    constexpr std::int64_t elements = 4096;
    Parameter& parameter = set.declare("w", Shape(elements));
    parameter.value = Tensor::zeros(Shape(elements), DType::f32);
    const auto ranks = make_solo();
    const auto path = make_host_path(*ranks, Place::cpu());
    for (std::int64_t leaves = 1; leaves <= 33; ++leaves) {
        const auto sum = make_gradient_sum({{&parameter}}, *path, Determinism::strict, Sharding::none);
        const std::size_t before = memory_use(Place::cpu()).total();
        reset_memory_peak(Place::cpu());
        sum->begin(leaves);
        for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
            parameter.gradient = Tensor::zeros(Shape(elements), DType::f32);
            sum->add_leaf();
            EXPECT_FALSE(parameter.gradient.defined());
        }
        sum->finish();
        const std::size_t buffers = (memory_use(Place::cpu()).peak_total() - before) / (elements * sizeof(float));
        EXPECT_LE(buffers, std::bit_width(static_cast<std::uint64_t>(leaves))) << leaves;   // ⌊log2 k⌋ + 1
        sum->forget_gradients();
    }
}

TEST(GradientSum, ValuesAreSharedByTheirOwners) {
    for (const int size : {1, 2, 5})
        run_ranks(size, [&](Communicator& ranks) {
            RankParameters parameters;
            const auto path = make_host_path(ranks, Place::cpu());
            const auto sum = make_gradient_sum(parameters.units, *path, Determinism::strict, Sharding::optimizer);
            for (const ParameterSlice& slice : sum->slices()) {
                const Tensor value = slice.value();
                for (std::int64_t i = 0; i < slice.elements(); ++i)
                    value.data<float>()[i] = static_cast<float>(slice.begin + i + 1);
            }
            sum->share_values();
            for (const auto& unit : parameters.units)
                for (const Parameter* parameter : unit)
                    for (std::int64_t i = 0; i < parameter->shape.elements(); ++i)
                        ASSERT_EQ(parameter->value.data<float>()[i], static_cast<float>(i + 1));
        });
}

}   // namespace
}   // namespace trainer::test
