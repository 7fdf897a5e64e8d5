// recompute, recompute_by_rows and leave_memory of the tape.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "autograd/ops/add.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/silu_mul.h"
#include "autograd/tape.h"
#include "tests/autograd/small_tensors.h"

namespace trainer {
namespace {

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

TEST(Recompute, ByRowsIsTheWhole) {
    const Shape shape(7, 3);
    std::vector<float> values(21);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.5f * static_cast<float>(i) - 4;
    const auto gradients = [&](std::int64_t rows) {
        Tape tape;
        Tensor x = Tensor::from<float>(values, shape);
        tape.want(x);
        Parameter weight("w", 3);
        give_value(weight, 1);
        std::vector<std::int64_t> begins;
        Tensor y;
        {
            const Recording record(tape);
            y = recompute_by_rows(
                [&](const Tensor& part, std::int64_t begin, std::int64_t end) {
                    EXPECT_EQ(part.rows(), end - begin);
                    EXPECT_EQ(part.to_vector<float>()[0], values[static_cast<std::size_t>(3 * begin)]);
                    begins.push_back(begin);
                    return squared(rms_norm(part, weight, 1e-5f));
                },
                x, rows);
        }
        const std::size_t forward = begins.size();
        tape.backward(y, Tensor::from<float>(values, shape));
        EXPECT_EQ(begins.size(), 2 * forward);
        return std::tuple(y.to_vector<float>(), tape.gradient(x).to_vector<float>(), weight.gradient.to_vector<float>(),
                          forward);
    };
    const auto [y, dx, dw, once] = gradients(7);
    EXPECT_EQ(once, 1u);
    for (const std::int64_t rows : {1, 2, 3, 100}) {
        const auto [part_y, part_dx, part_dw, calls] = gradients(rows);
        EXPECT_EQ(calls, rows > 7 ? 1u : static_cast<std::size_t>((7 + rows - 1) / rows));
        EXPECT_EQ(part_y, y);
        EXPECT_EQ(part_dx, dx);
        for (std::size_t i = 0; i < dw.size(); ++i) EXPECT_NEAR(part_dw[i], dw[i], 1e-5f * std::abs(dw[i]));
    }
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

TEST(LeaveMemory, IsThereAgainForThoseThatKeepIt) {
    Tensor x = row({1, 2, 3});
    Tape tape;
    tape.want(x);
    Tensor y;
    int made = 0;
    {
        const Recording record(tape);
        Tensor middle = scaled(x, 2);
        y = squared(middle);
        leave_memory(middle, [&made, x = x.detached()] {
            ++made;
            return scaled(x, 2);
        });
        EXPECT_EQ(middle.raw(), nullptr);
    }
    EXPECT_EQ(made, 0);
    tape.backward(y, row({1, 1, 1}));
    EXPECT_EQ(made, 1);
    EXPECT_EQ(tape.gradient(x).to_vector<float>(), (std::vector<float>{8, 16, 24}));   // of 4 x²
}

TEST(LeaveMemory, CountsWhatIsThere) {
    Tensor x = ones({256, 64});
    Tape tape;
    tape.want(x);
    const std::size_t before = memory_use(Place::cpu()).total();
    const Recording record(tape);
    Tensor middle = scaled(x, 2);
    const Tensor y = squared(middle);
    EXPECT_EQ(memory_use(Place::cpu()).total(), before + 2 * x.bytes());
    leave_memory(std::move(middle), [x = x.detached()] { return scaled(x, 2); });
    EXPECT_EQ(memory_use(Place::cpu()).total(), before + x.bytes());   // y
}

TEST(LeaveMemory, WhatNobodyKeepsIsNotMadeAgain) {
    Tape tape;
    const Recording record(tape);
    leave_memory(row({1, 2}), []() -> Tensor { throw std::logic_error("made again"); });
    EXPECT_EQ(tape.size(), 0u);
}

TEST(LeaveMemory, NothingHappensWithoutATape) {
    const Tensor x = row({1, 2});
    leave_memory(x, []() -> Tensor { throw std::logic_error("made again"); });
    EXPECT_EQ(x.to_vector<float>(), (std::vector<float>{1, 2}));
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
