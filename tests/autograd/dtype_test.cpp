#include "autograd/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace trainer {
namespace {

float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

TEST(Bf16, EveryValueSurvivesTheWayThroughF32) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        bf16 value;
        value.bits = static_cast<std::uint16_t>(bits);
        const auto single = static_cast<float>(value);
        if (std::isnan(single)) {
            EXPECT_TRUE(std::isnan(static_cast<float>(bf16(single))));
        } else {
            EXPECT_EQ(bf16(single).bits, bits);
        }
    }
}

TEST(Bf16, RoundsToNearestEven) {
    EXPECT_EQ(bf16(from_bits(0x3F800000)).bits, 0x3F80);
    EXPECT_EQ(bf16(from_bits(0x3F807FFF)).bits, 0x3F80);
    EXPECT_EQ(bf16(from_bits(0x3F808000)).bits, 0x3F80);   // tie, even below
    EXPECT_EQ(bf16(from_bits(0x3F808001)).bits, 0x3F81);
    EXPECT_EQ(bf16(from_bits(0x3F818000)).bits, 0x3F82);   // tie, even above
    EXPECT_EQ(bf16(from_bits(0xBF818000)).bits, 0xBF82);
    EXPECT_EQ(bf16(from_bits(0x00000001)).bits, 0x0000);
    EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7F80);            // to infinity
    EXPECT_TRUE(std::isnan(static_cast<float>(bf16(from_bits(0x7F800001)))));   // its upper half alone is infinity
}

TEST(F16, EveryValueSurvivesTheWayThroughF32) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float single = f16_to_float(half);
        if (std::isnan(single)) {
            EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(single))));
        } else {
            EXPECT_EQ(float_to_f16(single), half) << bits;
        }
    }
}

TEST(F16, ValuesAreThoseOfTheStandard) {
    EXPECT_EQ(f16_to_float(0x3C00), 1.0f);
    EXPECT_EQ(f16_to_float(0xC000), -2.0f);
    EXPECT_EQ(f16_to_float(0x7BFF), 65504.0f);
    EXPECT_EQ(f16_to_float(0x0001), 0x1p-24f);
    EXPECT_EQ(f16_to_float(0x03FF), 1023 * 0x1p-24f);
    EXPECT_EQ(f16_to_float(0xFC00), -std::numeric_limits<float>::infinity());
}

// Between two neighbours the nearer one is chosen, the even one at the middle.
TEST(F16, RoundsToNearestEven) {
    for (std::uint16_t bits = 0; bits < 0x7BFF; ++bits) {
        const float low = f16_to_float(bits);
        const float high = f16_to_float(static_cast<std::uint16_t>(bits + 1));
        const float middle = low + (high - low) / 2;   // exact
        const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
        ASSERT_EQ(float_to_f16(middle), even) << bits;
        ASSERT_EQ(float_to_f16(std::nextafter(middle, 0.0f)), bits);
        ASSERT_EQ(float_to_f16(std::nextafter(middle, 1e9f)), bits + 1);
        ASSERT_EQ(float_to_f16(-middle), even | 0x8000);
    }
    EXPECT_EQ(float_to_f16(65519.0f), 0x7BFF);
    EXPECT_EQ(float_to_f16(65520.0f), 0x7C00);
    EXPECT_EQ(float_to_f16(1e30f), 0x7C00);
    EXPECT_EQ(float_to_f16(1e-30f), 0x0000);
}

TEST(F16, IsItsBits) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        f16 half;
        half.bits = static_cast<std::uint16_t>(bits);
        const auto single = static_cast<float>(half);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(single), std::bit_cast<std::uint32_t>(f16_to_float(half.bits)));
        if (!std::isnan(single)) {
            ASSERT_EQ(f16(single).bits, half.bits);
        }
    }
    EXPECT_TRUE(std::isinf(static_cast<float>(f16(65520.0f))));
    EXPECT_EQ(rounded_to(DType::f16, 2049.0f), 2048.0f);
}

TEST(DType, SizesAndNames) {
    EXPECT_EQ(size_of(DType::f32), 4u);
    EXPECT_EQ(size_of(DType::bf16), 2u);
    EXPECT_EQ(size_of(DType::f16), 2u);
    EXPECT_EQ(size_of(DType::i32), 4u);
    EXPECT_EQ(size_of(DType::u8), 1u);
    EXPECT_EQ(size_of(DType::u64), 8u);
    EXPECT_EQ(name_of(DType::bf16), "bf16");
}

}   // namespace
}   // namespace trainer
