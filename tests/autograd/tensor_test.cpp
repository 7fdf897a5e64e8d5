#include "autograd/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "configs/error.h"

namespace trainer {
namespace {

Tensor counted(Shape shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), 0.0f);
    return Tensor::from<float>(values, shape);
}

TEST(Shape, HasOneOrTwoDimensions) {
    const Shape one(5);
    EXPECT_EQ(one.dimensions(), 1);
    EXPECT_EQ(one.columns(), 1);
    EXPECT_EQ(one.text(), "(5)");
    EXPECT_EQ(one.sizes(), (std::vector<std::int64_t>{5}));
    const Shape two(4, 8);
    EXPECT_EQ(two.elements(), 32);
    EXPECT_EQ(two.text(), "(4, 8)");
    EXPECT_EQ(two.sizes(), (std::vector<std::int64_t>{4, 8}));
    EXPECT_NE(one, Shape(5, 1));
}

TEST(Tensor, UndefinedHasNoValue) {
    const Tensor none;
    EXPECT_FALSE(none.defined());
    EXPECT_THROW(none.raw(), Error);
}

TEST(Tensor, HoldsOneTypeOnly) {
    const Tensor x = counted({2, 3});
    EXPECT_EQ(x.bytes(), 24u);
    EXPECT_THROW(x.data<bf16>(), Error);
    EXPECT_THROW(x.to_vector<std::int32_t>(), Error);
    EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{0, 1, 2, 3, 4, 5}));
}

TEST(Tensor, ValuesMustFillTheShape) {
    EXPECT_THROW(Tensor::from<float>(std::vector<float>{1, 2}, {2, 2}), Error);
    EXPECT_EQ(Tensor::from<float>(std::vector<float>{}, {0, 4}).to_vector<float>().size(), 0u);
}

TEST(Tensor, ViewsShareTheStorage) {
    const Tensor x = counted({4, 5});
    const Tensor rows = x.row_range(1, 3);
    EXPECT_EQ(rows.to_vector<float>(), (std::vector<float>{5, 6, 7, 8, 9, 10, 11, 12, 13, 14}));
    EXPECT_TRUE(rows.contiguous());
    const Tensor columns = x.column_range(1, 3);
    EXPECT_FALSE(columns.contiguous());
    EXPECT_EQ(columns.stride(), 5);
    EXPECT_EQ(columns.to_vector<float>(), (std::vector<float>{1, 2, 6, 7, 11, 12, 16, 17}));
    const Tensor corner = rows.column_range(3, 5).row_range(1, 2);
    EXPECT_EQ(corner.to_vector<float>(), (std::vector<float>{13, 14}));
    EXPECT_TRUE(corner.contiguous());
    corner.data<float>()[0] = -1;
    EXPECT_EQ(x.to_vector<float>()[13], -1);
    EXPECT_FALSE(x.sole_owner());
}

TEST(Tensor, OneDimensionIsCutByRows) {
    const Tensor part = counted(6).row_range(2, 5);
    EXPECT_EQ(part.shape(), Shape(3));
    EXPECT_EQ(part.to_vector<float>(), (std::vector<float>{2, 3, 4}));
    EXPECT_TRUE(part.sole_owner());   // the whole is gone, its storage lives on
}

TEST(Tensor, ViewsStayInside) {
    const Tensor x = counted({4, 5});
    EXPECT_THROW(x.row_range(2, 5), Error);
    EXPECT_THROW(x.row_range(-1, 2), Error);
    EXPECT_THROW(x.row_range(3, 2), Error);
    EXPECT_THROW(x.column_range(0, 6), Error);
    EXPECT_THROW(counted(4).column_range(0, 1), Error);
}

TEST(Tensor, OnlyContiguousOnesAreReshaped) {
    const Tensor x = counted({4, 6});
    EXPECT_EQ(x.reshaped({3, 8}).row_range(1, 2).to_vector<float>()[0], 8);
    EXPECT_EQ(x.reshaped(24).shape(), Shape(24));
    EXPECT_THROW(x.reshaped({5, 5}), Error);
    EXPECT_THROW(x.column_range(0, 3).reshaped(12), Error);
}

TEST(Tensor, ViewsAndDetachedTensorsHaveNoSlot) {
    Tensor x = counted({2, 2});
    x.set_slot(3);
    EXPECT_EQ(x.row_range(0, 1).slot(), -1);
    EXPECT_EQ(x.column_range(0, 1).slot(), -1);
    EXPECT_EQ(x.reshaped(4).slot(), -1);
    EXPECT_EQ(x.detached().slot(), -1);
    EXPECT_EQ(Tensor(x).slot(), 3);
}

TEST(Tensor, WithoutValueKeepsShapeAndSlotOnly) {
    const std::size_t before = memory_use(Place::cpu()).total();
    Tensor x = counted({2, 2});
    x.set_slot(3);
    const Tensor shell = x.without_value();
    EXPECT_TRUE(x.sole_owner());
    x = Tensor();
    EXPECT_EQ(memory_use(Place::cpu()).total(), before);
    EXPECT_FALSE(shell.defined());
    EXPECT_EQ(shell.slot(), 3);
    EXPECT_EQ(shell.shape(), Shape(2, 2));
}

TEST(Tensor, OnMetaThereAreShapesOnly) {
    const Tensor x = Tensor::zeros({1 << 20, 1 << 20}, DType::f32, Place::meta());
    EXPECT_EQ(x.raw(), nullptr);
    EXPECT_EQ(x.row_range(5, 9).raw(), nullptr);
    EXPECT_EQ(x.bytes(), std::size_t{1} << 42);
    Tensor copied = Tensor::empty(x.shape(), DType::bf16, Place::meta());
    copy(x, copied);
    EXPECT_EQ(converted(x, DType::bf16).dtype(), DType::bf16);
}

TEST(Tensor, ScalarIsOneNumber) {
    const Tensor third = scalar(1.0 / 3, Place::cpu());
    EXPECT_EQ(third.shape(), Shape(1));
    EXPECT_EQ(third.to_vector<float>(), std::vector<float>{1.0f / 3.0f});
    EXPECT_EQ(scalar(2, Place::meta()).raw(), nullptr);
}

TEST(Copy, ConvertsAndKeepsStridesApart) {
    const Tensor x = counted({3, 40});
    Tensor wide = Tensor::zeros({3, 50}, DType::bf16);
    Tensor target = wide.column_range(5, 45);
    copy(x, target);
    const auto values = wide.to_vector<bf16>();
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 50; ++column) {
            const bool inside = column >= 5 && column < 45;
            const auto expected = inside ? static_cast<float>(row * 40 + column - 5) : 0.0f;
            EXPECT_EQ(static_cast<float>(values[static_cast<std::size_t>(row * 50 + column)]), expected);
        }
    EXPECT_EQ(converted(target, DType::f32).to_vector<float>(), x.to_vector<float>());
}

TEST(Copy, OfTheSameTypeIsTheTensorItself) {
    const Tensor x = counted(3);
    EXPECT_EQ(converted(x, DType::f32).raw(), x.raw());
}

TEST(Copy, OfWordsKeepsTheirBits) {
    const std::vector<std::uint64_t> keys{1, ~0ull, 0x8000000000000001ull};
    const Tensor in = Tensor::from<std::uint64_t>(keys, 3);
    Tensor out = Tensor::empty(3, DType::u64);
    copy(in, out);
    EXPECT_EQ(out.to_vector<std::uint64_t>(), keys);
}

TEST(Copy, RefusesOtherShapesAndTypes) {
    const Tensor x = counted({2, 3});
    Tensor wrong_shape = Tensor::empty({3, 2}, DType::f32);
    EXPECT_THROW(copy(x, wrong_shape), Error);
    Tensor integers = Tensor::empty({2, 3}, DType::i32);
    EXPECT_THROW(copy(x, integers), Error);
}

}   // namespace
}   // namespace trainer
