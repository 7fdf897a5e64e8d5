#include "optim/adamw_8bit.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "autograd/quant/dynamic_map.h"
#include "tests/support/each_isa.h"

namespace trainer {
namespace {

// FNV-1a over whole numbers.
template <typename Numbers, typename Bits>
std::uint64_t hash_of(const Numbers& numbers, const Bits& bits) {
    std::uint64_t hash = 1469598103934665603u;
    for (const auto number : numbers) hash = (hash ^ bits(number)) * 1099511628211u;
    return hash;
}

std::uint64_t hash_of_floats(std::span<const float> numbers) {
    return hash_of(numbers, [](float number) { return std::bit_cast<std::uint32_t>(number); });
}

// bitsandbytes.functional.create_dynamic_map of version 0.50.
TEST(DynamicMap, HasTheBitsOfBitsandbytes) {
    EXPECT_EQ(hash_of_floats(signed_dynamic_map()), 0x6fb5408d34edd3d3u);
    EXPECT_EQ(hash_of_floats(unsigned_dynamic_map()), 0xfd8dd0bc46db107du);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(signed_dynamic_map()[126]), 0xb513a3b7u);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(unsigned_dynamic_map()[1]), 0x34ae7baau);
}

struct Problem {
    explicit Problem(std::int64_t elements, AdamWOptions options = {}) : parameter("p", Shape(elements)) {
        parameter.value = Tensor::zeros(elements, DType::f32);
        optimizer = make_adamw_8bit(options, {{{&parameter, 0, elements}, 1, 0}});
        optimizer->prepare();
    }
    void step(const std::vector<float>& gradient) {
        optimizer->step({Tensor::from<float>(gradient, Shape(parameter.shape.elements()))}, 1e-2, 1.0f);
    }
    template <typename Element>
    std::vector<Element> state(const char* name) {
        return optimizer->state(0).at(name).to_vector<Element>();
    }

    Parameter parameter;
    std::unique_ptr<Optimizer> optimizer;
};

// With betas of 0 the state is the gradient and its square, so that only the codes are at stake: those of
// bitsandbytes' quantize_blockwise with the nearest code, as on a GPU.
TEST(AdamW8bit, CodesAreThoseOfBitsandbytes) {
    constexpr std::int64_t elements = 4096 + 300;
    std::vector<float> gradient;
    for (std::int64_t i = 0; i < elements; ++i)
        gradient.push_back(
            std::ldexp(static_cast<float>(i * 40503 % 65536 - 32768) / 32768, -static_cast<int>(i % 20)));
    const auto byte = [](std::uint8_t code) { return std::uint64_t{code}; };
    cases::on_each_isa([&] {
        Problem problem(elements, {{0, 0}, 1e-8});
        problem.step(gradient);
        EXPECT_EQ(hash_of(problem.state<std::uint8_t>("state1"), byte), 0x251e73c7b579c7f1u);
        EXPECT_EQ(hash_of_floats(problem.state<float>("absmax1")), 0x2e2f0d865694f7bbu);
        EXPECT_EQ(hash_of(problem.state<std::uint8_t>("state2"), byte), 0xc60138a882462c16u);
        EXPECT_EQ(hash_of_floats(problem.state<float>("absmax2")), 0x50ae99864f2ea59fu);
    });
}

TEST(AdamW8bit, IsNearAdamWAfterManySteps) {
    constexpr std::int64_t elements = 5000;
    cases::on_each_isa([&] {
        Problem problem(elements);
        Parameter exact("p", Shape(elements));
        exact.value = Tensor::zeros(elements, DType::f32);
        const auto adamw = make_adamw({}, {{{&exact, 0, elements}, 1, 0}});
        adamw->prepare();
        std::mt19937 random(5);
        std::normal_distribution<float> normal;
        for (int t = 0; t < 100; ++t) {
            std::vector<float> gradient;
            for (std::int64_t i = 0; i < elements; ++i)
                gradient.push_back((normal(random) + 0.3f) * static_cast<float>(1 + i % 7));
            problem.step(gradient);
            adamw->step({Tensor::from<float>(gradient, Shape(elements))}, 1e-2, 1.0f);
        }
        double difference = 0;
        double size = 0;
        for (std::int64_t i = 0; i < elements; ++i) {
            const double right = exact.value.data<float>()[i];
            difference += std::pow(problem.parameter.value.data<float>()[i] - right, 2);
            size += right * right;
        }
        EXPECT_LT(std::sqrt(difference / size), 0.05);
        EXPECT_GT(difference, 0);   // eight bits do leave a trace
    });
}

TEST(AdamW8bit, ZerosStayZerosAndSmallParametersKeepWholeState) {
    Problem problem(4096);
    for (int i = 0; i < 2; ++i) problem.step(std::vector<float>(4096));
    for (const float value : problem.parameter.value.to_vector<float>()) ASSERT_EQ(value, 0);
    for (const float scale : problem.state<float>("absmax1")) ASSERT_EQ(scale, 0);
    EXPECT_EQ(problem.optimizer->state(0).size(), 4u);
    Problem small(4095);
    EXPECT_EQ(small.optimizer->state(0).size(), 2u);
    EXPECT_EQ(small.state<float>("exp_avg").size(), 4095u);
}

}   // namespace
}   // namespace trainer
