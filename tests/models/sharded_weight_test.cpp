// The seam for weights that are spread over ranks: run_blocks gathers them before a block runs and lets them go after
// it, forward and backward, with the result of a whole weight to the bit.
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "autograd/ops/linear.h"
#include "autograd/quant/dense.h"
#include "autograd/tape.h"
#include "models/blocks.h"
#include "tests/models/random_values.h"
#include "tests/support/thread_ranks.h"

namespace trainer {
namespace {

constexpr std::int64_t size = 12;

// Holds some rows of a dense weight for good and all of them only while acquired.
class ShardedWeight : public Weight {
public:
    ShardedWeight(DenseWeight& whole, Tensor values, Communicator& ranks)
        : whole_(whole), values_(std::move(values)), ranks_(ranks) {
        const auto [begin, end] = rows_of(ranks.rank());
        shard_ = values_.row_range(begin, end).to_vector<float>();
        forget();
    }
    std::int64_t out_features() const override { return whole_.out_features(); }
    std::int64_t in_features() const override { return whole_.in_features(); }
    Place place() const override { return whole_.place(); }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y, bool add) const override {
        whole_.forward_rows(begin, end, x, y, add);
    }
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx, bool add) const override {
        whole_.grad_input_rows(begin, end, dy, dx, add);
    }
    void rows(const Tensor& ids, Tensor& y) const override { whole_.rows(ids, y); }
    Tensor dense(DType dtype) const override { return whole_.dense(dtype); }
    std::size_t bytes() const override { return shard_.size() * sizeof(float); }
    std::uint64_t version() const override { return whole_.version(); }

    void acquire() override {
        std::vector<std::span<std::byte>> rows;
        for (int rank = 0; rank < ranks_.size(); ++rank) {
            const auto [begin, end] = rows_of(rank);
            const Tensor part = values_.row_range(begin, end);
            rows.emplace_back(static_cast<std::byte*>(part.raw()), part.bytes());
        }
        ranks_.all_gather(std::as_bytes(std::span(shard_)), rows);
        ++gathered;
    }
    void release() override { forget(); }

    int gathered = 0;

private:
    std::pair<std::int64_t, std::int64_t> rows_of(int rank) const {
        return {size * rank / ranks_.size(), size * (rank + 1) / ranks_.size()};
    }
    void forget() { std::fill_n(values_.data<float>(), values_.elements(), std::nanf("")); }

    DenseWeight& whole_;
    Tensor values_;   // of the dense weight: where its rows are gathered
    Communicator& ranks_;
    std::vector<float> shard_;
};

// x ← x Wᵀ with a frozen W, sharded when there are ranks.
class ShardedBlock : public Block {
public:
    ShardedBlock(unsigned seed, Communicator* ranks)
        : w_("w", Shape(size, size)),
          dense_(std::vector<Parameter*>{&w_}, DType::f32, DType::f32, Place::cpu()),
          seed_(seed) {
        test::randomise(w_, seed_, 0.3f);
        if (ranks) sharded = std::make_unique<ShardedWeight>(dense_, w_.value, *ranks);
        terms_.weight = sharded ? static_cast<Weight*>(sharded.get()) : &dense_;
        terms_.dense = {{0, size, &w_, nullptr}};
    }
    Tensor forward(const Tensor& x, const ForwardContext& context) const override {
        return linear(x, terms_, context.layout, context.training);
    }
    std::vector<Weight*> weights() const override { return {terms_.weight}; }

    std::unique_ptr<ShardedWeight> sharded;

private:
    Parameter w_;
    DenseWeight dense_;
    unsigned seed_;
    LinearTerms terms_;
};

struct Values {
    std::vector<float> y, dx;
    int gathered = 0;
};

Values run(Communicator* ranks, Recompute recompute) {
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<ShardedBlock*> sharded;
    for (unsigned i = 0; i < 3; ++i) {
        auto block = std::make_unique<ShardedBlock>(i, ranks);
        sharded.push_back(block.get());
        blocks.push_back(std::move(block));
    }
    const Layout layout = test::layout_of({5});
    Tensor x = test::random_tensor({5, size}, 99);
    const ForwardContext context{layout, true, true, recompute};
    Tape tape;
    tape.want(x);
    Tensor y;
    {
        const Recording record(tape);
        y = run_blocks(blocks, x, context);
    }
    tape.backward(y, test::random_tensor({5, size}, 98));
    Values values{y.to_vector<float>(), tape.gradient(x).to_vector<float>()};
    if (ranks)
        for (const ShardedBlock* block : sharded) values.gathered += block->sharded->gathered;
    return values;
}

TEST(ShardedWeight, GathersForEachPassAndGivesTheSameBits) {
    for (const Recompute recompute : {Recompute::none, Recompute::block}) {
        const Values whole = run(nullptr, recompute);
        for (const int size : {2, 3})
            test::run_ranks(size, [&](Communicator& ranks) {
                const Values values = run(&ranks, recompute);
                EXPECT_EQ(values.y, whole.y);
                EXPECT_EQ(values.dx, whole.dx);
                EXPECT_EQ(values.gathered, 6);   // three blocks, forward and backward
            });
    }
}

}   // namespace
}   // namespace trainer
