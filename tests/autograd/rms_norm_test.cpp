#include "autograd/ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/ops/add.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/support/each_isa.h"

namespace trainer {
namespace {

std::vector<float> waves(std::size_t count, float speed) {
    std::vector<float> out(count);
    for (std::size_t i = 0; i < count; ++i) out[i] = std::sin(static_cast<float>(i) * speed) * 2;
    return out;
}

struct NormWeight : Parameter {
    NormWeight(std::vector<float> values) : Parameter("norm.weight", static_cast<std::int64_t>(values.size())) {
        value = Tensor::from<float>(values, shape);
    }
};

float as_bf16(double value) { return static_cast<float>(bf16(static_cast<float>(value))); }

// The two roundings of transformers' LlamaRMSNorm: after the normalisation and after the weight. Values a hair from the
// middle of two bf16 numbers may go either way, so a few in a thousand may differ by one step.
TEST(RmsNorm, RoundsTheNormalisedValueAndTheProduct) {
    const std::int64_t columns = 576;
    const Tensor x = converted(Tensor::from<float>(waves(8 * 576, 1.3f), {8, columns}), DType::bf16);
    NormWeight weight(waves(576, 0.7f));
    const auto values = converted(x, DType::f32).to_vector<float>();
    const auto w = converted(weight.in(DType::bf16), DType::f32).to_vector<float>();
    cases::on_each_isa([&] {
        const auto y = converted(rms_norm(x, weight, 1e-5f), DType::f32).to_vector<float>();
        int different = 0;
        int once = 0;
        for (std::size_t n = 0; n < 8; ++n) {
            double squares = 0;
            for (std::size_t c = 0; c < 576; ++c)
                squares += static_cast<double>(values[n * 576 + c]) * values[n * 576 + c];
            const double rstd = 1 / std::sqrt(squares / 576 + 1e-5);
            for (std::size_t c = 0; c < 576; ++c) {
                const double normalised = static_cast<double>(values[n * 576 + c]) * rstd;
                different += y[n * 576 + c] != as_bf16(static_cast<double>(as_bf16(normalised)) * w[c]);
                once += y[n * 576 + c] != as_bf16(normalised * w[c]);
            }
        }
        EXPECT_LE(different, 8);
        EXPECT_GT(once, 400);   // one rounding would be another function
    });
}

TEST(RmsNorm, FusedAdditionEqualsItsComposition) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        NormWeight weight(waves(50, 0.7f));
        weight.trainable = true;
        const auto both = [&](bool fused) {
            Tape tape;
            Tensor x = converted(Tensor::from<float>(waves(150, 1.3f), {3, 50}), dtype);
            Tensor residual = converted(Tensor::from<float>(waves(150, 0.9f), {3, 50}), dtype);
            tape.want(x);
            tape.want(residual);
            AddNorm out;
            Tensor end;
            {
                const Recording record(tape);
                if (fused) {
                    out = add_rms_norm(x, residual, weight, 1e-5f);
                } else {
                    out.sum = add(x, residual);
                    out.norm = rms_norm(out.sum, weight, 1e-5f);
                }
                end = add(out.sum, out.norm);
            }
            weight.gradient = Tensor();
            tape.backward(end, converted(Tensor::from<float>(waves(150, 0.2f), {3, 50}), dtype));
            std::vector<std::vector<float>> all;
            for (const Tensor& t : {out.sum, out.norm, tape.gradient(x), tape.gradient(residual), weight.gradient})
                all.push_back(converted(t, DType::f32).to_vector<float>());
            return all;
        };
        const auto fused = both(true);
        const auto composed = both(false);
        EXPECT_EQ(fused[0], composed[0]);
        EXPECT_EQ(fused[1], composed[1]);
        EXPECT_EQ(fused[4], composed[4]);
        const float bound = dtype == DType::f32 ? 1e-6f : 2e-2f;   // composed: one more rounding of dx
        for (std::size_t i = 0; i < 150; ++i) EXPECT_NEAR(fused[2][i], composed[2][i], bound);
        EXPECT_EQ(fused[2], fused[3]);
    }
}

TEST(RmsNorm, AFrozenWeightGetsNoGradient) {
    NormWeight weight({1, 2, 3});
    Tape tape;
    Tensor x = Tensor::from<float>(std::vector<float>{1, -1, 2}, {1, 3});
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = rms_norm(x, weight, 1e-5f);
    }
    tape.backward(y, Tensor::from<float>(std::vector<float>{1, 1, 1}, {1, 3}));
    EXPECT_FALSE(weight.gradient.defined());
    EXPECT_TRUE(tape.gradient(x).defined());
}

TEST(RmsNorm, TheWeightAloneMayBeTrained) {
    NormWeight weight({1, 2, 3});
    weight.trainable = true;
    Tape tape;
    Tensor y;
    {
        const Recording record(tape);
        y = rms_norm(Tensor::from<float>(std::vector<float>{3, 0, -3}, {1, 3}), weight, 0);
    }
    tape.backward(y, Tensor::from<float>(std::vector<float>{1, 1, 2}, {1, 3}));
    const auto gradient = weight.gradient.to_vector<float>();
    const float normalised = std::sqrt(1.5f);
    EXPECT_NEAR(gradient[0], normalised, 1e-6f);
    EXPECT_EQ(gradient[1], 0);
    EXPECT_NEAR(gradient[2], -2 * normalised, 1e-6f);
}

TEST(RmsNorm, ARowOfZerosStaysZero) {
    NormWeight weight({1, 2, 3});
    EXPECT_EQ(rms_norm(Tensor::zeros({1, 3}, DType::f32), weight, 1e-5f).to_vector<float>(),
              (std::vector<float>{0, 0, 0}));
}

TEST(RmsNorm, RefusesAWeightOfAnotherWidth) {
    NormWeight weight({1, 2, 3});
    EXPECT_THROW(rms_norm(Tensor::zeros({2, 4}, DType::f32), weight, 1e-5f), Error);
    EXPECT_THROW(add_rms_norm(Tensor::zeros({2, 3}, DType::f32), Tensor::zeros({2, 3}, DType::bf16), weight, 1e-5f),
                 Error);
}

}   // namespace
}   // namespace trainer
