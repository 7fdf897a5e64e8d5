#include "autograd/parameter.h"

#include <gtest/gtest.h>

#include <vector>

#include "configs/error.h"

namespace trainer {
namespace {

Tensor three(float a, float b, float c) { return Tensor::from<float>(std::vector<float>{a, b, c}, 3); }

TEST(Parameter, GradientsAddUpInF32) {
    Parameter parameter("w", 3);
    parameter.add_gradient(converted(three(1, 2, 3), DType::bf16));
    EXPECT_EQ(parameter.gradient.dtype(), DType::f32);
    parameter.add_gradient(three(0.001f, 0, 0));   // below bf16's resolution at 1
    parameter.add_gradient(converted(three(1, 1, 1), DType::bf16));
    EXPECT_EQ(parameter.gradient.to_vector<float>(), (std::vector<float>{1.001f + 1.0f, 3, 4}));
}

TEST(Parameter, TakesTheFirstGradientOverOnlyWhenNobodyElseHoldsIt) {
    Parameter parameter("w", 3);
    Tensor mine = three(1, 2, 3);
    const void* memory = mine.raw();
    parameter.add_gradient(std::move(mine));
    EXPECT_EQ(parameter.gradient.raw(), memory);

    Parameter other("v", 3);
    const Tensor shared = three(1, 2, 3);
    other.add_gradient(shared);
    other.add_gradient(shared);
    EXPECT_EQ(shared.to_vector<float>(), (std::vector<float>{1, 2, 3}));
    EXPECT_EQ(other.gradient.to_vector<float>(), (std::vector<float>{2, 4, 6}));
}

TEST(Parameter, AViewOfALargerTensorIsCopied) {
    Parameter parameter("w", {2, 2});
    parameter.add_gradient(Tensor::from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}).column_range(1, 3));
    EXPECT_TRUE(parameter.gradient.contiguous());
    EXPECT_EQ(parameter.gradient.to_vector<float>(), (std::vector<float>{2, 3, 5, 6}));
}

TEST(Parameter, CopiesCountAsGradients) {
    const MemoryUse before = memory_use(Place::cpu());
    Parameter parameter("w", 1024);
    const Tensor g = Tensor::zeros(1024, DType::f32);
    parameter.add_gradient(g);
    const auto gradients = static_cast<std::size_t>(Purpose::gradients);
    EXPECT_EQ(memory_use(Place::cpu()).bytes[gradients] - before.bytes[gradients], 4096u);
}

TEST(Parameter, RefusesAGradientOfAnotherShape) {
    Parameter parameter("w", {3, 1});
    EXPECT_THROW(parameter.add_gradient(three(1, 2, 3)), Error);
}

TEST(Parameter, KeepsAConvertedCopyUntilTheValueChanges) {
    Parameter parameter("w", 3);
    parameter.value = three(1, 2, 3);
    EXPECT_EQ(parameter.in(DType::f32).raw(), parameter.value.raw());
    const void* copy_memory = parameter.in(DType::bf16).raw();
    parameter.value.data<float>()[0] = 5;
    EXPECT_EQ(static_cast<float>(parameter.in(DType::bf16).to_vector<bf16>()[0]), 1);   // not told yet
    const auto version = parameter.version();
    parameter.changed();
    EXPECT_GT(parameter.version(), version);
    EXPECT_EQ(static_cast<float>(parameter.in(DType::bf16).to_vector<bf16>()[0]), 5);
    EXPECT_EQ(parameter.in(DType::bf16).raw(), copy_memory);
}

TEST(ParameterSet, KeepsTheOrderAndFindsByName) {
    ParameterSet set;
    Parameter& b = set.declare("b", {2, 3});
    Parameter& a = set.declare("a", 5);
    a.trainable = true;
    EXPECT_EQ(set.all()[0].get(), &b);
    EXPECT_EQ(set.find("a"), &a);
    EXPECT_EQ(set.find("c"), nullptr);
    EXPECT_EQ(set.trainable(), (std::vector<Parameter*>{&a}));
    EXPECT_EQ(set.elements(false), 11);
    EXPECT_EQ(set.elements(true), 5);
    EXPECT_THROW(set.declare("b", 1), Error);
}

}   // namespace
}   // namespace trainer
