#include "autograd/quant/dense.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "autograd/cpu/gemm.h"

namespace trainer {
namespace {

struct Stack {
    Parameter q{"q", {5, 6}}, k{"k", {3, 6}};
    DenseWeight weight;
    explicit Stack(DType storage, DType compute) : weight({&q, &k}, storage, compute, Place::cpu()) { fill(0.125f); }

    void fill(float step) {
        float next = -2;
        for (Parameter* parameter : {&q, &k}) {
            std::vector<float> values(static_cast<std::size_t>(parameter->shape.elements()));
            for (float& value : values) value = next += step;
            copy(Tensor::from<float>(values, parameter->shape), parameter->value);
            parameter->changed();
        }
    }
};

Tensor ramp(Shape shape, DType dtype) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    std::iota(values.begin(), values.end(), -3.0f);
    return converted(Tensor::from<float>(values, shape), dtype);
}

std::vector<float> floats(const Tensor& tensor) { return converted(tensor, DType::f32).to_vector<float>(); }

TEST(DenseWeight, StacksItsParameters) {
    Stack stack(DType::f32, DType::f32);
    EXPECT_EQ(stack.weight.out_features(), 8);
    EXPECT_EQ(stack.weight.in_features(), 6);
    const std::vector<float> all = stack.weight.dense(DType::f32).to_vector<float>();
    const std::vector<float> q = stack.q.value.to_vector<float>(), k = stack.k.value.to_vector<float>();
    EXPECT_TRUE(std::equal(q.begin(), q.end(), all.begin()));
    EXPECT_TRUE(std::equal(k.begin(), k.end(), all.begin() + 30));
    EXPECT_EQ(stack.weight.bytes(), 8u * 6 * 4);
}

TEST(DenseWeight, ProductsAgreeWithTheTwin) {
    for (const DType compute : {DType::f32, DType::bf16}) {
        Stack stack(DType::f32, compute);
        const Tensor x = ramp({4, 6}, compute), dy = ramp({4, 8}, compute);
        const Tensor dense = stack.weight.dense(compute);
        Tensor y = ramp({4, 8}, compute), expected_y = ramp({4, 8}, compute);
        stack.weight.forward(x, y, true);
        gemm_reference(expected_y, x, false, dense, true, true);
        EXPECT_EQ(floats(y), floats(expected_y));
        Tensor dx = Tensor::empty({4, 6}, compute), expected_dx = Tensor::empty({4, 6}, compute);
        stack.weight.grad_input(dy, dx, false);
        gemm_reference(expected_dx, dy, false, dense, false, false);
        EXPECT_EQ(floats(dx), floats(expected_dx));
        Tensor part = Tensor::empty({4, 3}, compute), part_dx = Tensor::empty({4, 6}, compute);
        stack.weight.forward_rows(5, 8, x, part, false);
        gemm_reference(expected_y, x, false, dense, true, false);
        Tensor expected_part = Tensor::empty({4, 3}, compute);
        copy(expected_y.column_range(5, 8), expected_part);
        EXPECT_EQ(floats(part), floats(expected_part));
        stack.weight.grad_input_rows(5, 8, dy.column_range(5, 8), part_dx, false);
        gemm_reference(expected_dx, dy.column_range(5, 8), false, dense.row_range(5, 8), false, false);
        EXPECT_EQ(floats(part_dx), floats(expected_dx));
    }
}

TEST(DenseWeight, TheComputeCopyFollowsChanges) {
    Stack stack(DType::f32, DType::bf16);
    const Tensor x = ramp({2, 6}, DType::bf16);
    Tensor before = Tensor::empty({2, 8}, DType::f32), after = Tensor::empty({2, 8}, DType::f32);
    stack.weight.forward(x, before, false);
    EXPECT_EQ(stack.weight.bytes(), 8u * 6 * (4 + 2));
    const std::uint64_t version = stack.weight.version();
    stack.fill(0.25f);
    EXPECT_NE(stack.weight.version(), version);
    stack.weight.forward(x, after, false);
    EXPECT_NE(floats(after), floats(before));
    Tensor expected = Tensor::empty({2, 8}, DType::f32);
    gemm_reference(expected, x, false, stack.weight.dense(DType::bf16), true, false);
    EXPECT_EQ(floats(after), floats(expected));
}

TEST(DenseWeight, RefusesParametersOfAnotherWidth) {
    Parameter a("a", {2, 3}), b("b", {2, 4});
    EXPECT_ANY_THROW(DenseWeight({&a, &b}, DType::f32, DType::f32, Place::cpu()));
}

}   // namespace
}   // namespace trainer
