#include "autograd/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/nonfinite.h"
#include "autograd/tape.h"
#include "tests/support/op_check.h"

namespace trainer {
namespace {

constexpr float infinite = std::numeric_limits<float>::infinity();

class Counter : public OpObserver {
public:
    std::vector<const void*> made_values;
    std::map<std::string, int> begun;
    int ended = 0;
    int gradients = 0;

    void block(std::int64_t) override {}
    void made(const OpName& op, const Tensor& output) override {
        EXPECT_STRNE(op.name, "");
        made_values.push_back(output.raw());
    }
    void backward_begins(const OpName& op) override { ++begun[op.name]; }
    void gradient(const Tensor&) override { ++gradients; }
    void backward_ends() override { ++ended; }
};

bool holds(const std::vector<const void*>& all, const void* one) {
    return std::find(all.begin(), all.end(), one) != all.end();
}

// Recorded or not: what nobody asks a gradient of may be what is not finite.
TEST(Observer, SeesTheOutputsOfEveryOp) {
    for (const cases::Case& op : cases::small_cases()) {
        SCOPED_TRACE(op.label);
        for (const bool recorded : {false, true}) {
            cases::Prepared prepared(op, DType::f32, Place::cpu(), 1);
            Counter counter;
            const Observing observing(counter);
            Tape tape;
            const std::vector<Tensor> outputs = prepared.forward(recorded ? &tape : nullptr);
            for (std::size_t i = 0; i + static_cast<std::size_t>(op.without_gradient) < outputs.size(); ++i)
                EXPECT_TRUE(holds(counter.made_values, outputs[i].raw())) << "output " << i;
        }
    }
}

TEST(Observer, SeesEveryOpsBackward) {
    for (const cases::Case& op : cases::small_cases()) {
        SCOPED_TRACE(op.label);
        cases::Prepared prepared(op, DType::f32, Place::cpu(), 1);
        Counter counter;
        const Observing observing(counter);
        Tape tape;
        const std::vector<Tensor> outputs = prepared.forward(&tape);
        prepared.backward(tape, outputs);
        int begun = 0;
        for (const auto& [name, count] : counter.begun) begun += count;
        EXPECT_EQ(begun, counter.ended);
        EXPECT_GE(begun - counter.begun[""], 1);   // the sum that the case is seeded through has no name
        EXPECT_TRUE(counter.gradients > 0 || op.inputs[0].parameter);
    }
}

TEST(Observer, IsGoneAfterItsScope) {
    Counter outer, inner;
    {
        const Observing one(outer);
        {
            const Observing other(inner);
            EXPECT_EQ(current_observer(), &inner);
        }
        EXPECT_EQ(current_observer(), &outer);
    }
    EXPECT_EQ(current_observer(), nullptr);
}

TEST(NonFinite, IsFoundRowByRow) {
    Tensor x = Tensor::zeros({5, 7}, DType::f32);
    EXPECT_FALSE(first_nonfinite(x));
    x.data<float>()[4 * 7 + 1] = infinite;
    x.data<float>()[3 * 7 + 6] = -infinite;
    x.data<float>()[0] = std::numeric_limits<float>::max();
    x.data<float>()[1] = std::numeric_limits<float>::denorm_min();
    const auto found = first_nonfinite(x);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->row, 3);
    EXPECT_EQ(found->column, 6);
    EXPECT_EQ(found->value, -infinite);
    EXPECT_FALSE(first_nonfinite(x.column_range(2, 6)));   // what lies between the rows does not count
    EXPECT_EQ(first_nonfinite(x.column_range(1, 2))->row, 4);
}

TEST(NonFinite, EveryBf16IsJudgedAsItsFloat) {
    for (unsigned bits = 0; bits < 65536; ++bits) {
        bf16 value;
        value.bits = static_cast<std::uint16_t>(bits);
        const Tensor x = Tensor::from<bf16>(std::vector<bf16>{bf16(1.0f), value}, 2);
        const auto found = first_nonfinite(x);
        ASSERT_EQ(found.has_value(), !std::isfinite(static_cast<float>(value))) << bits;
        if (!found) continue;
        ASSERT_EQ(found->row, 1);
    }
}

TEST(NonFinite, EveryF16IsJudgedAsItsFloat) {
    for (unsigned bits = 0; bits < 65536; ++bits) {
        f16 value;
        value.bits = static_cast<std::uint16_t>(bits);
        const auto found = first_nonfinite(Tensor::from<f16>(std::vector<f16>{f16(1.0f), value}, 2));
        ASSERT_EQ(found.has_value(), !std::isfinite(static_cast<float>(value))) << bits;
        if (!found) continue;
        ASSERT_EQ(found->row, 1);
        ASSERT_EQ(std::isnan(found->value), std::isnan(static_cast<float>(value)));
    }
}

TEST(NonFinite, IntegersAndMetaHaveNone) {
    const std::vector<std::int32_t> ones(3, -1);   // all bits set
    EXPECT_FALSE(first_nonfinite(Tensor::from<std::int32_t>(ones, 3)));
    EXPECT_FALSE(first_nonfinite(Tensor::empty({3, 3}, DType::f32, Place::meta())));
    EXPECT_FALSE(first_nonfinite(Tensor::empty(0, DType::f32)));
}

}   // namespace
}   // namespace trainer
