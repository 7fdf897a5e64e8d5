#include "autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/ops/add.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/silu_mul.h"
#include "configs/error.h"

namespace trainer {
namespace {

Tensor row(std::vector<float> values) {
    return Tensor::from<float>(values, {1, static_cast<std::int64_t>(values.size())});
}

Tensor ones(Shape shape) {
    return Tensor::from<float>(std::vector<float>(static_cast<std::size_t>(shape.elements()), 1.0f), shape);
}

// factor · x
Tensor scaled(const Tensor& x, float factor) {
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    copy(x, y);
    on(y.place(), [&](Cpu cpu) { scale_rows(cpu, y, factor); });
    if (Tape* tape = recording({&x}))
        tape->record({&y}, [x = x.without_value(), factor](std::span<Tensor> dy, Gradients& gradients) {
            Tensor dx = Tensor::empty(dy[0].shape(), dy[0].dtype(), dy[0].place());
            copy(dy[0], dx);
            on(dx.place(), [&](Cpu cpu) { scale_rows(cpu, dx, factor); });
            gradients.add(x, std::move(dx));
        });
    return y;
}

Parameter& give_value(Parameter& parameter, float first) {
    std::vector<float> values(static_cast<std::size_t>(parameter.shape.elements()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = first + 0.1f * static_cast<float>(i);
    parameter.value = Tensor::from<float>(values, parameter.shape);
    parameter.trainable = true;
    parameter.changed();
    return parameter;
}

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

// A block with a trainable weight, a dropout and a residual.
Tensor block(const Tensor& x, Parameter& weight, const Layout& layout) {
    Tensor wide = dropout(rms_norm(x, weight, 1e-5f), 0.25f, 77, layout);
    return add(scaled(wide, 0.5f), x);
}

struct BlockResult {
    std::vector<float> y, dx, dweight;
};

BlockResult run_block(bool again, bool want_x) {
    Parameter weight("w", 40);
    give_value(weight, -1);
    Layout layout;
    layout.offsets = {0, 3};
    layout.token_keys = Tensor::from<std::uint64_t>(std::vector<std::uint64_t>{5, 6, 7}, 3);
    std::vector<float> values(120);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
    Tensor x = Tensor::from<float>(values, {3, 40});
    Tape tape;
    if (want_x) tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        const auto function = [&](const Tensor& in) { return block(in, weight, layout); };
        y = again ? recompute(function, x) : function(x);
    }
    BlockResult out;
    out.y = y.to_vector<float>();
    tape.backward(y, Tensor::from<float>(values, {3, 40}));
    if (want_x) out.dx = tape.gradient(x).to_vector<float>();
    out.dweight = weight.gradient.to_vector<float>();
    return out;
}

TEST(Recompute, EqualsNoRecomputeInBits) {
    const BlockResult plain = run_block(false, true);
    const BlockResult again = run_block(true, true);
    EXPECT_EQ(plain.y, again.y);
    EXPECT_EQ(plain.dx, again.dx);
    EXPECT_EQ(plain.dweight, again.dweight);
}

TEST(Recompute, RecordsAlthoughItsInputWantsNoGradientAndTrainsTheWeightsInside) {
    const BlockResult plain = run_block(false, false);
    const BlockResult again = run_block(true, false);
    EXPECT_EQ(plain.dweight, again.dweight);
    EXPECT_NE(again.dweight, std::vector<float>(40, 0.0f));
}

TEST(Recompute, Nests) {
    Parameter weight("w", 4);
    give_value(weight, 1);
    const auto gradients = [&](bool again) {
        Tape tape;
        Tensor x = row({1, 2, -3, 4});
        tape.want(x);
        const auto inner = [&](const Tensor& in) { return rms_norm(in, weight, 1e-5f); };
        const auto outer = [&](const Tensor& in) { return again ? recompute(inner, inner(in)) : inner(inner(in)); };
        Tensor y;
        {
            const Recording record(tape);
            y = again ? recompute(outer, x) : outer(x);
        }
        weight.gradient = Tensor();
        tape.backward(y, row({1, 0, 2, 0}));
        return std::pair(tape.gradient(x).to_vector<float>(), weight.gradient.to_vector<float>());
    };
    EXPECT_EQ(gradients(true), gradients(false));
}

TEST(Recompute, KeepsOnlyItsInput) {
    Tape tape;
    Tensor x = ones({256, 64});
    tape.want(x);
    const std::size_t before = memory_use(Place::cpu()).total();
    const Recording record(tape);
    const Tensor y = recompute(
        [](const Tensor& in) {
            Tensor out = in;
            for (int i = 0; i < 5; ++i) out = scaled(out, 2);
            return out;
        },
        x);
    EXPECT_EQ(memory_use(Place::cpu()).total(), before + y.bytes());
    EXPECT_EQ(tape.size(), 1u);
}

TEST(Recompute, OfAFunctionThatReturnsItsInput) {
    Tape tape;
    Tensor x = row({1, 2});
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = recompute([](const Tensor& in) { return in; }, x);
    }
    tape.backward(y, row({3, 4}));
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{3, 4}));
}

}   // namespace
}   // namespace trainer
