// What f16 needs beside the table of ops: its conversions, and what happens at the ends of its range.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/cuda/runtime.h"
#include "autograd/nonfinite.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/linear_cross_entropy.h"
#include "autograd/quant/dense.h"
#include "tests/cuda/device.h"
#include "tests/cuda/uniform_tensor.h"
#include "tests/support/op_check.h"

namespace trainer {
namespace {

class CudaF16 : public ::testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    }
};

// A device converts by an instruction of its own.
TEST_F(CudaF16, IsConvertedAsOnTheHost) {
    Tensor halves = Tensor::empty(65536, DType::f16);
    std::vector<float> singles;
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        halves.data<f16>()[bits].bits = static_cast<std::uint16_t>(bits);
        const float low = f16_to_float(static_cast<std::uint16_t>(bits));
        const float high = f16_to_float(static_cast<std::uint16_t>(bits + 1));
        if (!std::isfinite(low) || !std::isfinite(high)) continue;
        const float middle = (low + high) / 2;   // goes to the even one
        for (const float value : {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
            singles.push_back(value);
    }
    for (const float value : {65519.0f, 65520.0f, 1e30f, -1e30f, 1e-30f, std::numeric_limits<float>::infinity()})
        singles.push_back(value);
    const std::vector<float> widened = converted(on_place(halves, Place::cuda()), DType::f32).to_vector<float>();
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const float expected = f16_to_float(static_cast<std::uint16_t>(bits));
        if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(widened[bits])) << bits;
        } else {
            ASSERT_EQ(widened[bits], expected) << bits;
        }
    }
    const auto count = static_cast<std::int64_t>(singles.size());
    const Tensor there = on_place(Tensor::from<float>(singles, count), Place::cuda());
    const std::vector<f16> narrow = converted(there, DType::f16).to_vector<f16>();
    for (std::size_t i = 0; i < singles.size(); ++i) ASSERT_EQ(narrow[i].bits, float_to_f16(singles[i])) << singles[i];
}

// Probabilities of 1e-8, which f16 would make zero, are all of this gradient.
TEST_F(CudaF16, SmallProbabilitiesOfALargeVocabularyCount) {
    constexpr std::int64_t vocabulary = 3000, columns = 8;
    constexpr double scale = 65536;
    Parameter weight("weight", Shape(vocabulary, columns));
    DenseWeight dense({&weight}, DType::f16, DType::f16, Place::cuda());
    // Token 0 is the target and has logit 18; the others' are 0.
    const double probability = std::exp(-18.0) / (1 + (vocabulary - 1) * std::exp(-18.0));
    double expected = 0;
    weight.set([&](float* values) {
        std::fill_n(values, vocabulary * columns, 0.0f);
        values[0] = 18;
        for (std::int64_t v = 1; v < vocabulary; ++v) {
            const float value = v % 7 < 3 ? 1.0f : 0.5f;
            std::fill_n(values + v * columns + 1, columns - 1, value);
            expected += scale * probability * static_cast<double>(value);
        }
    });
    LinearTerms head;
    head.weight = &dense;
    head.dense = {{0, vocabulary, &weight, nullptr}};
    Tensor hidden = Tensor::zeros({1, columns}, DType::f32);
    hidden.data<float>()[0] = 1;
    Tensor x = on_place(converted(hidden, DType::f16), Place::cuda());
    const Tensor targets = Tensor::from<std::int32_t>(std::vector<std::int32_t>{0}, 1);
    Tape tape;
    tape.want(x);
    Tensor loss;
    {
        const Recording record(tape);
        loss = linear_cross_entropy(x, head, targets, Layout(), true, 0).loss;
    }
    tape.backward(loss, scalar(scale, Place::cuda()));
    const cases::Matrix gradient = cases::matrix_of(tape.gradient(x));
    for (std::int64_t c = 1; c < columns; ++c) EXPECT_NEAR(gradient(0, c), expected, 3e-3 * expected);
}

// A gradient of a score beyond 65504 is seen in what is made of it.
TEST_F(CudaF16, AnOverflowInAttentionShows) {
    const AttentionShape shape{1, 1, 64, 0.125f};
    const Layout layout = on_place(cases::World{Place::cpu(), DType::f32, {}}.layout({40}), Place::cuda());
    Tensor values = uniform_tensor({40, 192}, DType::f32, 1), above = Tensor::empty({40, 64}, DType::f32);
    for (std::int64_t row = 0; row < 40; ++row)
        for (std::int64_t d = 0; d < 64; ++d) {
            values.data<float>()[row * 192 + 128 + d] = row % 2 == 0 ? 100.0f : -100.0f;
            above.data<float>()[row * 64 + d] = 100.0f;   // d out · v is ± 640,000
        }
    for (const float factor : {1.0f, 0x1p-6f}) {
        for (std::int64_t i = 0; i < above.elements(); ++i) above.data<float>()[i] *= factor;
        Tensor qkv = on_place(converted(values, DType::f16), Place::cuda());
        Tape tape;
        tape.want(qkv);
        Tensor y;
        {
            const Recording record(tape);
            y = attention(qkv, layout, shape, 0);
        }
        EXPECT_FALSE(first_nonfinite(y));
        tape.backward(y, on_place(converted(above, DType::f16), Place::cuda()));
        EXPECT_EQ(first_nonfinite(tape.gradient(qkv)).has_value(), factor == 1) << factor;
    }
}

}   // namespace
}   // namespace trainer
