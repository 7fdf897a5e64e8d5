#include "optim/stochastic_rounding.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "optim/optimizer_options.h"
#include "tests/support/each_isa.h"

namespace trainer {
namespace {

constexpr float largest = 3.38953139e38f;   // of bf16

float rounded(float value, std::uint32_t noise) { return static_cast<float>(rounded_stochastically(value, noise)); }
float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// With all noise there is, the numbers of a value's two neighbours give its exact mean.
TEST(StochasticRounding, IsUnbiased) {
    const std::uint32_t sizes[] = {0x3F800001u, 0x3F80FFFFu, 0x3F804321u, 0x00000001u, 0x00008000u, 0x00012345u,
                                   0x007FFFFFu, 0x00800001u, 0x7F7E8001u, 0x4B7FFFFFu, 0x3DCCCCCDu};
    for (const std::uint32_t size : sizes)
        for (const std::uint32_t sign : {0u, 0x80000000u}) {
            const float value = from_bits(size | sign);
            const float below = from_bits((size & 0xFFFF0000u) | sign);
            const float above = from_bits((size & 0xFFFF0000u) + 0x10000u + sign);
            double sum = 0;
            for (std::uint32_t noise = 0; noise < 65536; ++noise) {
                const float found = rounded(value, noise);
                ASSERT_TRUE(found == below || found == above) << value << " " << found;
                sum += static_cast<double>(found);
            }
            EXPECT_EQ(sum / 65536, static_cast<double>(value)) << value;
        }
}

TEST(StochasticRounding, KeepsWhatBf16Holds) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const float value = from_bits(bits << 16);
        for (const std::uint32_t noise : {0u, 1u, 0x7FFFu, 0x8000u, 0xFFFFu, 0x12345678u}) {
            const bf16 found = rounded_stochastically(value, noise);
            if (std::isnan(value))
                EXPECT_TRUE(std::isnan(static_cast<float>(found))) << bits;
            else
                EXPECT_EQ(found.bits, bits);
        }
    }
}

TEST(StochasticRounding, EndsAtTheLargestNumber) {
    for (const std::uint32_t noise : {0u, 0x8000u, 0xFFFFu}) {
        EXPECT_EQ(rounded(3.4028e38f, noise), largest);
        EXPECT_EQ(rounded(-std::numeric_limits<float>::max(), noise), -largest);
        EXPECT_EQ(rounded(std::numeric_limits<float>::infinity(), noise), std::numeric_limits<float>::infinity());
        EXPECT_EQ(rounded(-std::numeric_limits<float>::infinity(), noise), -std::numeric_limits<float>::infinity());
        EXPECT_TRUE(std::isnan(rounded(from_bits(0x7F800001u), noise)));   // whose upper half alone is infinity
        EXPECT_TRUE(std::isnan(rounded(from_bits(0xFFFFFFFFu), noise)));
    }
}

std::vector<std::uint16_t> bits_of(const Tensor& values) {
    std::vector<std::uint16_t> bits;
    for (const bf16 one : values.to_vector<bf16>()) bits.push_back(one.bits);
    return bits;
}

std::vector<std::uint16_t> rounded_bits(std::uint64_t key, std::int64_t first, const std::vector<float>& values) {
    Tensor out = Tensor::empty(static_cast<std::int64_t>(values.size()), DType::bf16);
    round_stochastically(key, first, Tensor::from<float>(values, out.shape()), out);
    return bits_of(out);
}

// The rule of the header, element by element: also that of tests/parity/optimizers.py.
std::uint16_t expected_bits(std::uint64_t key, std::int64_t i, float value) {
    const auto block = static_cast<std::uint64_t>(i / 8);
    const auto words = philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0});
    return rounded_stochastically(value, words[static_cast<std::size_t>(i % 8 / 2)] >> (i % 2 * 16)).bits;
}

TEST(StochasticRounding, DrawsByElementOnAnyInstructionSetAndThreads) {
    std::vector<float> values;
    for (int i = 0; i < 9'001; ++i)
        values.push_back(i % 97 == 0   ? std::numeric_limits<float>::quiet_NaN()
                         : i % 89 == 0 ? std::numeric_limits<float>::max()
                         : i % 83 == 0 ? -std::numeric_limits<float>::infinity()
                                       : std::ldexp(std::sin(static_cast<float>(i)), i % 250 - 140));
    const std::uint64_t key = rounding_key(7, 3, "a.weight");
    const std::int64_t first = (std::int64_t{1} << 36) + 1024;
    std::vector<std::uint16_t> expected;
    for (std::size_t i = 0; i < values.size(); ++i)
        expected.push_back(expected_bits(key, first + static_cast<std::int64_t>(i), values[i]));
    cases::on_each_isa([&] {
        const int before = omp_get_max_threads();
        for (const int threads : {1, 2, 5}) {
            omp_set_num_threads(threads);
            EXPECT_EQ(rounded_bits(key, first, values), expected);
        }
        omp_set_num_threads(before);
    });
    for (const std::size_t begin : {8u, 1000u, 8992u})
        EXPECT_EQ(rounded_bits(key, first + static_cast<std::int64_t>(begin), {values.begin() + begin, values.end()}),
                  std::vector<std::uint16_t>(expected.begin() + begin, expected.end()));
}

// A million draws of a number 0.3 of the way up: the share of ups has a deviation of √(0.21 / n), and so has the share
// of those where two keys agree.
TEST(StochasticRounding, NoiseIsUniformAndIndependent) {
    constexpr std::size_t count = 1 << 20;
    const std::vector<float> values(count, from_bits(0x3F800000u + 19661u));   // 0.3 · 65536
    const auto ups = [&](std::uint64_t key) {
        std::vector<bool> up;
        for (const std::uint16_t bits : rounded_bits(key, 0, values)) up.push_back(bits == 0x3F81u);
        return up;
    };
    const auto share = [](const std::vector<bool>& some) {
        return static_cast<double>(std::count(some.begin(), some.end(), true)) / static_cast<double>(some.size());
    };
    const double p = 19661.0 / 65536;
    const double bound = 5 * std::sqrt(p * (1 - p) / static_cast<double>(count));   // 0.0022
    const std::vector<bool> one = ups(rounding_key(1, 1, "a"));
    EXPECT_NEAR(share(one), p, bound);
    std::vector<bool> next = one;   // the element after
    std::rotate(next.begin(), next.begin() + 1, next.end());
    for (const std::vector<bool>& other : {ups(rounding_key(1, 2, "a")), ups(rounding_key(2, 1, "a")),
                                           ups(rounding_key(1, 1, "b")), ups(rounding_key(1, 1, "a.")), next}) {
        EXPECT_NEAR(share(other), p, bound);
        std::vector<bool> both;
        for (std::size_t i = 0; i < count; ++i) both.push_back(one[i] && other[i]);
        EXPECT_NEAR(share(both), p * p, bound);
    }
}

// Two hundred updates, each a fiftieth of the distance between two neighbours: 1 goes to 1 − 200 · 2⁻⁸ / 50. Rounded to
// nearest it would stay.
TEST(StochasticRounding, TinyUpdatesAddUp) {
    constexpr double change = 0x1p-8 / 50;
    OptimizerOptions options;
    options.choose("sgd");
    options.lr = change;
    Parameter parameter("a", Shape(64, 1024));
    parameter.value = Tensor::empty(parameter.shape, DType::bf16);
    std::fill_n(parameter.value.data<bf16>(), parameter.shape.elements(), bf16(1.0f));
    Tensor gradient = Tensor::empty(parameter.shape.elements(), DType::f32);
    std::fill_n(gradient.data<float>(), gradient.elements(), 0.1f);   // momentum 0.9 sums it up to 1
    const auto optimizer = make_optimizer(options, whole_slices({&parameter}), 5);
    optimizer->prepare();
    float in_f32 = 1;
    bf16 to_nearest(1.0f);
    double momentum = 0;
    for (int step = 0; step < 200; ++step) {
        optimizer->step({gradient}, options.lr, 1.0f);
        momentum = 0.9 * momentum + 0.1;
        in_f32 -= static_cast<float>(change * momentum);
        to_nearest = bf16(static_cast<float>(to_nearest) - static_cast<float>(change * momentum));
    }
    double sum = 0;
    for (const bf16 one : parameter.value.to_vector<bf16>()) sum += static_cast<double>(static_cast<float>(one));
    const double mean = sum / static_cast<double>(parameter.shape.elements());
    EXPECT_EQ(static_cast<float>(to_nearest), 1.0f);
    EXPECT_LT(in_f32, 0.986f);
    // Each step's rounding has a deviation below half a distance; of 65536 elements the mean has 1/256 of it.
    const double deviation = 0x1p-8 / 2 * std::sqrt(200.0) / 256;
    EXPECT_NEAR(mean, static_cast<double>(in_f32), 5 * deviation);
    EXPECT_LT(5 * deviation, 0.05 * (1 - static_cast<double>(in_f32)));
}

}   // namespace
}   // namespace trainer
