#include "models/blocks.h"

#include <gtest/gtest.h>

#include "autograd/memory.h"
#include "autograd/ops/add.h"
#include "autograd/ops/linear.h"
#include "autograd/quant/dense.h"
#include "autograd/tape.h"
#include "configs/error.h"
#include "tests/models/random_values.h"

namespace trainer {
namespace {

using test::layout_of;
using test::random_tensor;
using test::randomise;

constexpr std::int64_t size = 8;
constexpr std::int64_t rank = 2;

// A dense weight that writes down what happens to it, and refuses to be used when it is not acquired.
class CountingWeight : public Weight {
public:
    CountingWeight(Weight& inner, std::string name, std::string& log) : inner_(inner), name_(name), log_(log) {}
    std::int64_t out_features() const override { return inner_.out_features(); }
    std::int64_t in_features() const override { return inner_.in_features(); }
    Place place() const override { return inner_.place(); }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                      bool accumulate) const override {
        note(is_whole(begin, end) ? "f" : "?");
        inner_.forward_rows(begin, end, x, y, accumulate);
    }
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                         bool accumulate) const override {
        note(is_whole(begin, end) ? "g" : "?");
        inner_.grad_input_rows(begin, end, dy, dx, accumulate);
    }
    void rows(const Tensor&, Tensor&) const override { note("?"); }
    Tensor dense(DType dtype) const override { return inner_.dense(dtype); }
    std::size_t bytes() const override { return inner_.bytes(); }
    std::uint64_t version() const override { return inner_.version(); }
    void acquire() override {
        ++held;
        note("+");
    }
    void release() override {
        note("-");
        --held;
    }

    int held = 0;

private:
    bool is_whole(std::int64_t begin, std::int64_t end) const { return begin == 0 && end == out_features(); }
    void note(const char* what) const {
        EXPECT_EQ(held, 1) << what << name_;
        log_ += (log_.empty() ? "" : " ") + std::string(what) + name_;
    }

    Weight& inner_;
    std::string name_;
    std::string& log_;
};

// x + x (W + A B)ᵀ with frozen W; without `trainable` A and B are frozen too.
class CountingBlock : public Block {
public:
    CountingBlock(int index, bool trainable, std::string& log)
        : w_("w", Shape(size, size)), a_("a", Shape(rank, size)), b_("b", Shape(size, rank)) {
        const auto seed = static_cast<unsigned>(10 * index);
        dense_ = std::make_unique<DenseWeight>(std::vector<Parameter*>{&w_}, DType::f32, DType::f32, Place::cpu());
        a_.value = Tensor::empty(a_.shape, DType::f32);
        b_.value = Tensor::empty(b_.shape, DType::f32);
        randomise(w_, seed, 0.3f);
        randomise(a_, seed + 1, 0.3f);
        randomise(b_, seed + 2, 0.3f);
        a_.trainable = b_.trainable = trainable;
        weight = std::make_unique<CountingWeight>(*dense_, std::to_string(index), log);
        terms_.weight = weight.get();
        terms_.dense = {{0, size, &w_, nullptr}};
        terms_.low_rank = {{0, size, &a_, &b_, 1.0f, 0.0f, 0}};
    }
    Tensor forward(const Tensor& x, const ForwardContext& context) const override {
        Tensor y = add(x, linear(x, terms_, context.layout, context.training));
        if (fails_in_backward)
            if (Tape* tape = recording({&y})) {
                Tensor z = y.detached();
                tape->record({&z}, [](std::span<Tensor>, Gradients&) { fail(Exit::out_of_memory, "in backward"); });
                return z;
            }
        return y;
    }
    std::vector<Weight*> weights() const override { return {weight.get()}; }

    const Tensor& a_gradient() const { return a_.gradient; }
    const Tensor& b_gradient() const { return b_.gradient; }

    std::unique_ptr<CountingWeight> weight;
    bool fails_in_backward = false;

private:
    Parameter w_;
    Parameter a_;
    Parameter b_;
    std::unique_ptr<DenseWeight> dense_;
    LinearTerms terms_;
};

class BlocksTest : public ::testing::Test {
protected:
    BlocksTest() { poison_new_memory(true); }
    ~BlocksTest() override { poison_new_memory(false); }

    void make(const std::vector<bool>& trainable) {
        blocks_.clear();
        counting_.clear();
        for (bool one : trainable) {
            auto block = std::make_unique<CountingBlock>(static_cast<int>(counting_.size()), one, log_);
            counting_.push_back(block.get());
            blocks_.push_back(std::move(block));
        }
    }

    // Forward and backward; what happened in each. y and dx (when wanted) are kept.
    std::pair<std::string, std::string> run(Recompute recompute, bool want) {
        log_.clear();
        Tensor x = random_tensor({5, size}, 99);
        const ForwardContext context{layout_, true, true, recompute};
        Tape tape;
        if (want) tape.want(x);
        {
            const Recording record(tape);
            y_ = run_blocks(blocks_, x, context);
        }
        const std::string forward = std::exchange(log_, "");
        if (y_.slot() >= 0) tape.backward(y_, random_tensor({5, size}, 98));
        if (want) dx_ = tape.gradient(x);
        for (const CountingBlock* block : counting_) EXPECT_EQ(block->weight->held, 0);
        return {forward, log_};
    }

    using Logs = std::pair<std::string, std::string>;

    Layout layout_ = layout_of({5});
    std::string log_;
    std::vector<std::unique_ptr<Block>> blocks_;
    std::vector<CountingBlock*> counting_;
    Tensor y_;
    Tensor dx_;
};

TEST_F(BlocksTest, WeightsAreHeldWhileTheirBlockRuns) {
    make({true, true});
    EXPECT_EQ(run(Recompute::none, true), Logs("+0 f0 -0 +1 f1 -1", "+1 g1 -1 +0 g0 -0"));
    EXPECT_EQ(run(Recompute::block, true), Logs("+0 f0 -0 +1 f1 -1", "+1 f1 g1 -1 +0 f0 g0 -0"));
}

// As with adapters on a frozen embedding: the first block has no gradient to hand on, and lets go all the same.
TEST_F(BlocksTest, AlsoWhenNobodyAsksForTheGradientOfTheInput) {
    make({true, true});
    EXPECT_EQ(run(Recompute::none, false), Logs("+0 f0 -0 +1 f1 -1", "+1 g1 -1 +0 -0"));
    EXPECT_EQ(run(Recompute::block, false), Logs("+0 f0 -0 +1 f1 -1", "+1 f1 g1 -1 +0 f0 -0"));
}

TEST_F(BlocksTest, BlocksBelowTheLowestTrainableOneAreNotVisitedAgain) {
    make({false, true});
    EXPECT_EQ(run(Recompute::none, false), Logs("+0 f0 -0 +1 f1 -1", "+1 -1"));
    make({false, false});
    EXPECT_EQ(run(Recompute::none, false), Logs("+0 f0 -0 +1 f1 -1", ""));
}

TEST_F(BlocksTest, RecomputeTrainsTheSameBitsAlthoughTheInputWantsNoGradient) {
    for (bool want : {false, true}) {
        make({true, true, true});
        run(Recompute::none, want);
        std::vector<std::vector<float>> kept = {y_.to_vector<float>()};
        if (want) kept.push_back(dx_.to_vector<float>());
        for (const CountingBlock* block : counting_) {
            kept.push_back(block->a_gradient().to_vector<float>());
            kept.push_back(block->b_gradient().to_vector<float>());
        }
        make({true, true, true});
        run(Recompute::block, want);
        std::vector<std::vector<float>> again = {y_.to_vector<float>()};
        if (want) again.push_back(dx_.to_vector<float>());
        for (const CountingBlock* block : counting_) {
            ASSERT_TRUE(block->a_gradient().defined());
            again.push_back(block->a_gradient().to_vector<float>());
            again.push_back(block->b_gradient().to_vector<float>());
        }
        EXPECT_EQ(again, kept);
    }
}

TEST_F(BlocksTest, NothingIsKeptWithoutARecording) {
    make({true, true});
    const Tensor y = run_blocks(blocks_, random_tensor({5, size}, 99), {layout_, false, true, Recompute::block});
    EXPECT_LT(y.slot(), 0);
    EXPECT_EQ(log_, "+0 f0 -0 +1 f1 -1");
}

TEST_F(BlocksTest, WeightsAreLetGoWhenTheWalkIsGivenUp) {
    make({true, true, true});
    counting_[1]->fails_in_backward = true;
    {
        Tape tape;
        Tensor y;
        {
            const Recording record(tape);
            y = run_blocks(blocks_, random_tensor({5, size}, 99), {layout_, true, true, Recompute::none});
        }
        log_.clear();
        EXPECT_THROW(tape.backward(y, random_tensor({5, size}, 98)), Error);
        EXPECT_EQ(log_, "+2 g2 -2 +1");
    }
    EXPECT_EQ(log_, "+2 g2 -2 +1 -1");
}

}   // namespace
}   // namespace trainer
