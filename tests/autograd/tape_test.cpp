#include "autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/ops/add.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/silu_mul.h"
#include "configs/error.h"
#include "tests/autograd/small_tensors.h"

namespace trainer {
namespace {

TEST(Tape, NothingIsRecordedWithoutARecording) {
    Tape tape;
    Tensor x = row({1, 2});
    tape.want(x);
    EXPECT_LT(add(x, x).slot(), 0);
    EXPECT_EQ(tape.size(), 0u);
    EXPECT_EQ(current_tape(), nullptr);
}

TEST(Tape, NothingIsRecordedWhenNobodyAsks) {
    Tape tape;
    const Recording record(tape);
    const Tensor x = row({1, 2});
    EXPECT_LT(add(x, x).slot(), 0);
    EXPECT_EQ(tape.size(), 0u);
}

TEST(Tape, RecordingsNestAndPause) {
    Tape outer;
    Tape inner;
    const Recording record(outer);
    {
        const Recording second(inner);
        EXPECT_EQ(current_tape(), &inner);
        const NotRecording pause;
        EXPECT_EQ(current_tape(), nullptr);
    }
    EXPECT_EQ(current_tape(), &outer);
}

TEST(Tape, ATensorAddedToItselfGetsTwiceTheGradient) {
    Tape tape;
    Tensor x = row({1, 2, 3});
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = add(x, x);
    }
    const Tensor seed = row({1, 10, 100});
    tape.backward(y, seed);
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{2, 20, 200}));
    EXPECT_EQ(seed.to_vector<float>(), (std::vector<float>{1, 10, 100}));   // the caller's tensor is untouched
    EXPECT_EQ(tape.size(), 0u);
}

TEST(Tape, ATensorUsedThriceGetsTheSum) {
    Tape tape;
    Tensor x = row({1, 2});
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = add(add(scaled(x, 2), scaled(x, 3)), x);
    }
    tape.backward(y, row({1, 1}));
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{6, 6}));
}

// add hands one gradient to both of its inputs; what the second use adds to a must not reach b.
TEST(Tape, SharedGradientsAreNotWrittenThrough) {
    Tape tape;
    Tensor a = row({1, 2});
    Tensor b = row({3, 4});
    tape.want(a);
    tape.want(b);
    Tensor y;
    {
        const Recording record(tape);
        const Tensor early = scaled(a, 5);
        y = add(add(a, b), early);
    }
    tape.backward(y, row({1, 1}));
    EXPECT_EQ(tape.gradient(a).to_vector<float>(), (std::vector<float>{6, 6}));
    EXPECT_EQ(tape.gradient(b).to_vector<float>(), (std::vector<float>{1, 1}));
}

TEST(Tape, AGradientMayBeAStridedView) {
    Tape tape;
    Tensor x = Tensor::from<float>(std::vector<float>{1, 2, 3, 4}, {2, 2});
    tape.want(x);
    Tensor y = Tensor::zeros({2, 2}, DType::f32);
    const Tensor wide = Tensor::from<float>(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
    tape.record({&y}, [&](std::span<Tensor>, Gradients& gradients) {
        gradients.add(x, wide.column_range(0, 2));
        gradients.add(x, wide.column_range(1, 3));
    });
    tape.backward(y, ones({2, 2}));
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{3, 5, 9, 11}));
    EXPECT_EQ(wide.to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(Tape, NodesWithoutAnOutputGradientAreSkipped) {
    Tape tape;
    Tensor x = row({1, 2});
    tape.want(x);
    Tensor used;
    {
        const Recording record(tape);
        scaled(x, 100);   // nobody uses it
        used = scaled(x, 2);
    }
    tape.backward(used, row({1, 1}));
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{2, 2}));
}

// Each output of add_rms_norm alone, and both: the gradients of the two alone add up to the gradient of both.
TEST(Tape, OutputsNobodyContributedToAreUndefined) {
    const auto gradient = [](bool use_sum, bool use_norm) {
        Parameter weight("w", 3);
        give_value(weight, 0.5f);
        weight.trainable = false;
        Tape tape;
        Tensor x = row({1, -2, 0.5f});
        tape.want(x);
        const Tensor residual = row({0.25f, 1, 3});
        Tensor y;
        {
            const Recording record(tape);
            const AddNorm out = add_rms_norm(x, residual, weight, 1e-5f);
            y = use_sum && use_norm ? add(out.sum, out.norm) : use_sum ? scaled(out.sum, 1) : scaled(out.norm, 1);
        }
        tape.backward(y, row({1, 2, 3}));
        return tape.gradient(x).to_vector<float>();
    };
    const auto sum = gradient(true, false);
    const auto norm = gradient(false, true);
    const auto both = gradient(true, true);
    EXPECT_EQ(sum, (std::vector<float>{1, 2, 3}));
    for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(both[i], sum[i] + norm[i], 1e-6f);
}

TEST(Tape, AskingForTheGradientOfWhatWasNotRecordedThrows) {
    Tape tape;
    EXPECT_THROW(tape.backward(row({1}), row({1})), Error);
}

TEST(Tape, AGradientOfAnotherShapeThrows) {
    Tape tape;
    Tensor x = row({1, 2});
    tape.want(x);
    Tensor y = row({0});
    tape.record({&y}, [&](std::span<Tensor>, Gradients& gradients) { gradients.add(x, row({1})); });
    EXPECT_THROW(tape.backward(y, row({1})), Error);
}

TEST(Tape, AnOpWithoutGradientRefusesWhenOneIsAsked) {
    Tape tape;
    Tensor x = row({1});
    EXPECT_NO_THROW(refuse_gradient("argmax", {&x}));
    tape.want(x);
    EXPECT_NO_THROW(refuse_gradient("argmax", {&x}));   // not recording
    const Recording record(tape);
    try {
        refuse_gradient("argmax", {&x});
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("argmax"), std::string::npos);
        EXPECT_EQ(error.code(), Exit::internal);
    }
}

// x next to itself, in two column ranges.
Tensor twice(const Tensor& x) {
    const std::int64_t columns = x.columns();
    Tensor y = Tensor::empty({x.rows(), 2 * columns}, x.dtype(), x.place());
    for (std::int64_t begin : {std::int64_t{0}, columns}) {
        Tensor part = y.column_range(begin, begin + columns);
        copy(x, part);
    }
    if (Tape* tape = recording({&x}))
        tape->record({&y}, [x = x.without_value(), columns](std::span<Tensor> dy, Gradients& gradients) {
            gradients.add(x, dy[0].column_range(0, columns));
            gradients.add(x, dy[0].column_range(columns, 2 * columns));
        });
    return y;
}

TEST(Tape, NodesFreeWhatTheySavedAsTheyAreConsumed) {
    Tape tape;
    Tensor x = ones({64, 64});
    tape.want(x);
    const std::size_t before = memory_use(Place::cpu()).total();
    Tensor y = x;
    {
        const Recording record(tape);
        for (int i = 0; i < 8; ++i) y = silu_mul(twice(y));
    }
    EXPECT_GT(memory_use(Place::cpu()).total(), before + 16 * x.bytes());
    tape.backward(y, ones({64, 64}));
    y = Tensor();
    EXPECT_EQ(memory_use(Place::cpu()).total(), before + x.bytes());   // the gradient of x
    EXPECT_TRUE(tape.gradient(x).defined());
    EXPECT_EQ(memory_use(Place::cpu()).total(), before);
}

}   // namespace
}   // namespace trainer
