#include "autograd/ops/silu_mul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/support/each_isa.h"

namespace trainer {
namespace {

// silu of each value.
std::vector<float> silu(const std::vector<float>& gates) {
    std::vector<float> gate_up;
    for (float gate : gates) {
        gate_up.push_back(gate);
        gate_up.push_back(1);
    }
    return silu_mul(Tensor::from<float>(gate_up, {static_cast<std::int64_t>(gates.size()), 2})).to_vector<float>();
}

// Distance to the next float.
double unit(double value) {
    const auto single = static_cast<float>(std::fabs(value));
    return static_cast<double>(std::nextafter(single, std::numeric_limits<float>::infinity())) -
           static_cast<double>(single);
}

TEST(SiluMul, IsExactToFourUnitsInTheLastPlace) {
    std::vector<float> gates;
    for (float g = -87; g <= 90; g += 0.00137f) gates.push_back(g);
    for (float g = 1e-30f; g < 1; g *= 1.7f) gates.insert(gates.end(), {g, -g});
    cases::on_each_isa([&] {
        const auto values = silu(gates);
        double worst = 0;
        for (std::size_t i = 0; i < gates.size(); ++i) {
            const auto g = static_cast<double>(gates[i]);
            const double expected = g / (1 + std::exp(-g));
            worst = std::max(worst, std::fabs(static_cast<double>(values[i]) - expected) / unit(expected));
        }
        EXPECT_LE(worst, 4);
    });
}

TEST(SiluMul, HasNoOverflow) {
    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    cases::on_each_isa([&] {
        const auto values = silu({0, -0.0f, 100, 1e30f, -100, -1e30f, infinity, nan});
        EXPECT_EQ(values[0], 0);
        EXPECT_EQ(values[2], 100);
        EXPECT_EQ(values[3], 1e30f);
        EXPECT_EQ(values[4], 0);
        EXPECT_EQ(values[5], 0);
        EXPECT_EQ(values[6], infinity);
        EXPECT_TRUE(std::isnan(values[7]));
    });
}

TEST(SiluMul, GradientsAreFiniteFarOut) {
    cases::on_each_isa([] {
        Tape tape;
        Tensor x = Tensor::from<float>(std::vector<float>{-1e4f, -90, 90, 1e4f, 1, 2, 3, 4}, {1, 8});
        tape.want(x);
        Tensor y;
        {
            const Recording record(tape);
            y = silu_mul(x);
        }
        tape.backward(y, Tensor::from<float>(std::vector<float>{1, 1, 1, 1}, {1, 4}));
        EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{0, 0, 3, 4, 0, 0, 90, 1e4f}));
    });
}

// A gate_up that nobody else holds is overwritten by its gradient: same numbers, no new memory.
TEST(SiluMul, ReusesTheMemoryOfAnInputNobodyElseHolds) {
    std::vector<float> values(2 * 64 * 40);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 4;
    const Tensor seed = Tensor::from<float>(std::vector<float>(64 * 40, 0.5f), {64, 40});
    const auto gradient = [&](bool hold) {
        Tape tape;
        Tensor x = Tensor::from<float>(values, {64, 80});
        tape.want(x);
        Tensor y;
        {
            const Recording record(tape);
            y = silu_mul(x);
        }
        const Tensor held = hold ? x : Tensor();
        const Tensor target = x.without_value();
        x = Tensor();
        reset_memory_peak(Place::cpu());
        const std::size_t before = memory_use(Place::cpu()).total();
        tape.backward(y, seed);
        const std::size_t more = memory_use(Place::cpu()).peak_total() - before;
        EXPECT_EQ(more, hold ? held.bytes() : 0u);
        if (hold) {
            EXPECT_EQ(held.to_vector<float>(), values);
        }
        return tape.gradient(target).to_vector<float>();
    };
    EXPECT_EQ(gradient(true), gradient(false));
}

TEST(SiluMul, RefusesAnOddNumberOfColumns) {
    EXPECT_THROW(silu_mul(Tensor::zeros({2, 3}, DType::f32)), Error);
    EXPECT_THROW(silu_mul(Tensor::zeros({2, 4}, DType::i32)), Error);
}

}   // namespace
}   // namespace trainer
