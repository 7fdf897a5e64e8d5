#include "autograd/cpu/rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "configs/error.h"
#include "tests/support/each_isa.h"

namespace trainer {
namespace {

float value_at(std::int64_t i) { return std::sin(static_cast<float>(i) * 1.7f) * 3; }

// (rows, columns) inside a wider tensor of NaN.
struct Framed {
    Tensor frame;
    Tensor inside;
};

Framed framed(std::int64_t rows, std::int64_t columns, DType dtype, std::int64_t shift) {
    Framed out;
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const Shape shape(rows, columns + 5);
    Tensor f32 = Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(shape.elements()), nan), shape);
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c)
            f32.data<float>()[r * shape.columns() + c + 2] =
                static_cast<float>(bf16(value_at(shift + r * columns + c)));
    out.frame = converted(f32, dtype);
    out.inside = out.frame.column_range(2, columns + 2);
    return out;
}

void expect_frame_untouched(const Framed& framed) {
    for (std::int64_t column : {std::int64_t{0}, framed.frame.columns() - 3}) {
        const Tensor border = framed.frame.column_range(column, column == 0 ? 2 : framed.frame.columns());
        for (float value : converted(border, DType::f32).to_vector<float>()) ASSERT_TRUE(std::isnan(value));
    }
}

std::vector<float> floats_of(const Tensor& tensor) { return converted(tensor, DType::f32).to_vector<float>(); }

float as(DType dtype, float value) { return dtype == DType::bf16 ? static_cast<float>(bf16(value)) : value; }

TEST(Rows, AgreeWithPlainArithmeticInEveryTypeWidthAndStride) {
    cases::on_each_isa([] {
        for (std::int64_t columns : {1, 3, 4, 7, 15, 16, 17, 31, 64, 100})
            for (DType left : {DType::f32, DType::bf16})
                for (DType right : {DType::f32, DType::bf16}) {
                    Framed a = framed(3, columns, left, 0);
                    const Framed b = framed(3, columns, right, 1000);
                    const auto a_values = floats_of(a.inside);
                    const auto b_values = floats_of(b.inside);
                    add_rows(Cpu{}, a.inside, b.inside);
                    auto sums = floats_of(a.inside);
                    for (std::size_t i = 0; i < sums.size(); ++i)
                        ASSERT_EQ(sums[i], as(left, a_values[i] + b_values[i])) << columns << " " << i;
                    scale_rows(Cpu{}, a.inside, 0.3f);
                    const auto scaled = floats_of(a.inside);
                    for (std::size_t i = 0; i < sums.size(); ++i) ASSERT_EQ(scaled[i], as(left, sums[i] * 0.3f));
                    expect_frame_untouched(a);
                    copy_rows(Cpu{}, b.inside, a.inside);
                    ASSERT_EQ(floats_of(a.inside), b_values);
                    expect_frame_untouched(a);
                }
    });
}

TEST(Rows, SumIsWrittenToAThirdTensor) {
    cases::on_each_isa([] {
        for (DType dtype : {DType::f32, DType::bf16}) {
            const Framed a = framed(5, 37, dtype, 0);
            const Framed b = framed(5, 37, dtype, 9);
            Framed out = framed(5, 37, dtype, 0);
            sum_rows(Cpu{}, a.inside, b.inside, out.inside);
            const auto x = floats_of(a.inside);
            const auto y = floats_of(b.inside);
            const auto sum = floats_of(out.inside);
            for (std::size_t i = 0; i < sum.size(); ++i) ASSERT_EQ(sum[i], as(dtype, x[i] + y[i]));
            expect_frame_untouched(out);
        }
    });
}

// The scalar conversion is tested by itself (dtype_test); the vectors must round as it does, on every kind of number.
TEST(Rows, RoundToBf16AsTheScalarDoes) {
    std::vector<std::uint32_t> bits;
    for (std::uint32_t upper = 0; upper < 0x10000; upper += 7)
        for (std::uint32_t lower : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) bits.push_back((upper << 16) | lower);
    std::vector<float> values(bits.size());
    std::memcpy(values.data(), bits.data(), bits.size() * 4);
    const Tensor in = Tensor::from<float>(values, static_cast<std::int64_t>(values.size()));
    cases::on_each_isa([&] {
        Tensor out = Tensor::empty(in.shape(), DType::bf16);
        copy_rows(Cpu{}, in, out);
        const auto rounded = out.to_vector<bf16>();
        for (std::size_t i = 0; i < bits.size(); ++i)
            ASSERT_EQ(rounded[i].bits, bf16(values[i]).bits) << std::hex << bits[i];
    });
}

TEST(Rows, LargeTensorsAreCoveredWhole) {
    const Shape shape(101, 1009);   // several pieces, none of them even
    Tensor sum = Tensor::zeros(shape, DType::f32);
    const Tensor one = Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(shape.elements()), 1.0f), shape);
    add_rows(Cpu{}, sum, one);
    EXPECT_EQ(sum.to_vector<float>(), one.to_vector<float>());
    const Shape wide(3, 20001);
    Tensor frame = Tensor::zeros({3, 20010}, DType::f32);
    Tensor inside = frame.column_range(4, 20005);
    const Tensor ones = Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(wide.elements()), 1.0f), wide);
    copy_rows(Cpu{}, ones, inside);
    double total = 0;
    for (float value : frame.to_vector<float>()) total += static_cast<double>(value);
    EXPECT_EQ(total, static_cast<double>(wide.elements()));
    EXPECT_EQ(inside.to_vector<float>(), ones.to_vector<float>());
}

TEST(Rows, OfNothingDoNothing) {
    Tensor none = Tensor::empty({0, 5}, DType::f32);
    add_rows(Cpu{}, none, none);
    scale_rows(Cpu{}, none, 2);
    Tensor thin = Tensor::empty({5, 0}, DType::f32);
    copy_rows(Cpu{}, thin, thin);
}

TEST(Rows, F16IsConvertedAndNotComputedWith) {
    Tensor wide = Tensor::zeros({3, 4}, DType::f32);
    for (int i = 0; i < 12; ++i) wide.data<float>()[i] = 0.1f * static_cast<float>(i);
    wide.data<float>()[3] = 65520.0f;
    const Tensor narrow = converted(wide, DType::f16);
    for (int i = 0; i < 12; ++i) EXPECT_EQ(narrow.data<f16>()[i].bits, float_to_f16(wide.data<float>()[i]));
    Tensor part = Tensor::zeros({3, 2}, DType::f32);
    copy(narrow.column_range(2, 4), part);
    EXPECT_EQ(part.data<float>()[1], std::numeric_limits<float>::infinity());
    EXPECT_EQ(part.data<float>()[2], rounded_to(DType::f16, 0.6f));
    EXPECT_THROW(converted(narrow, DType::bf16), Error);
    Tensor sum = converted(wide, DType::f16);
    EXPECT_THROW(add_rows(Cpu{}, sum, narrow), Error);
    EXPECT_THROW(scale_rows(Cpu{}, sum, 2), Error);
}

TEST(Rows, RefuseOtherTypesAndShapes) {
    Tensor a = Tensor::zeros({2, 3}, DType::f32);
    Tensor integers = Tensor::zeros({2, 3}, DType::i32);
    const Tensor b = Tensor::zeros({3, 2}, DType::f32);
    EXPECT_THROW(add_rows(Cpu{}, a, b), Error);
    EXPECT_THROW(add_rows(Cpu{}, a, integers), Error);
    EXPECT_THROW(scale_rows(Cpu{}, integers, 2), Error);
    const Tensor half = Tensor::zeros({2, 3}, DType::bf16);
    EXPECT_THROW(sum_rows(Cpu{}, a, half, a), Error);
}

}   // namespace
}   // namespace trainer
