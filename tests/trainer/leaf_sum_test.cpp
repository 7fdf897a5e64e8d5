#include "trainer/leaf_sum.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace trainer {
namespace {

using Values = std::vector<float>;
constexpr int elements = 256;

Values random_values(std::mt19937& generator) {
    std::normal_distribution<float> normal;
    Values values(elements);
    for (float& value : values) value = normal(generator) * std::exp2(static_cast<float>(generator() % 20));
    return values;
}

// The tree: the left part holds the largest power of two of leaves below their number.
Values tree(const std::vector<Values>& leaves, std::size_t begin, std::size_t count) {
    if (count == 1) return leaves[begin];
    const std::size_t left = std::bit_ceil(count) / 2;
    Values sum = tree(leaves, begin, left);
    const Values right = tree(leaves, begin + left, count - left);
    for (int i = 0; i < elements; ++i) sum[static_cast<std::size_t>(i)] += right[static_cast<std::size_t>(i)];
    return sum;
}

TEST(LeafSum, IsTheBinaryTreeInFewBuffers) {
    std::mt19937 generator(3);
    ParameterSet set;
    Parameter& parameter = set.declare("w", Shape(elements));
    for (std::size_t count = 1; count <= 33; ++count) {
        std::vector<Values> leaves;
        for (std::size_t i = 0; i < count; ++i) leaves.push_back(random_values(generator));
        LeafSum sum({&parameter});
        const std::size_t before = memory_use(Place::cpu()).total();
        reset_memory_peak(Place::cpu());
        for (const Values& leaf : leaves) {
            parameter.gradient = Tensor::from<float>(leaf, elements);
            sum.add_leaf();
            EXPECT_FALSE(parameter.gradient.defined());
        }
        sum.finish();
        const std::size_t buffers = (memory_use(Place::cpu()).peak_total() - before) / (elements * sizeof(float));
        EXPECT_LE(buffers, static_cast<std::size_t>(std::bit_width(count))) << count;   // ⌊log2 k⌋ + 1
        EXPECT_EQ(parameter.gradient.to_vector<float>(), tree(leaves, 0, count)) << count;
        parameter.gradient = Tensor();
    }
}

TEST(LeafSum, ALeafMayLackAGradient) {
    ParameterSet set;
    Parameter& a = set.declare("a", Shape(2));
    Parameter& b = set.declare("b", Shape(2));
    LeafSum sum({&a, &b});
    a.gradient = Tensor::from<float>(Values{1, 2}, 2);
    sum.add_leaf();
    b.gradient = Tensor::from<float>(Values{3, 4}, 2);
    sum.add_leaf();
    sum.add_leaf();
    sum.finish();
    EXPECT_EQ(a.gradient.to_vector<float>(), (Values{1, 2}));
    EXPECT_EQ(b.gradient.to_vector<float>(), (Values{3, 4}));
    sum.finish();   // nothing was added: gradients stay
    EXPECT_EQ(a.gradient.to_vector<float>(), (Values{1, 2}));
}

}   // namespace
}   // namespace trainer
