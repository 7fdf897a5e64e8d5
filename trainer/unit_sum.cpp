#include <algorithm>

#include "trainer/gradient_sum.h"

namespace trainer {

namespace {

// A leaf's gradients go to their owners while its backward pass runs (Sharding gradients). Rank r computes the leaves
// r, r + P, r + 2 P, …, so that owners receive all leaves in their order and can sum them as they come: an owner
// holds at most ⌊log2 leaves⌋ + 1 sums of its part.
class UnitSum : public GradientSum {
public:
    UnitSum(std::vector<std::vector<Parameter*>> units, DataPath& path)
        : GradientSum(std::move(units), path, true),
          trees_(layout_.buckets(), LeafTree<Tensor, AddTensors>(AddTensors())) {}

    std::vector<std::int64_t> leaves_of(std::int64_t leaves) const override {
        std::vector<std::int64_t> mine;
        for (std::int64_t leaf = ranks_.rank(); leaf < leaves; leaf += ranks_.size()) mine.push_back(leaf);
        return mine;
    }

    void begin(std::int64_t leaves) override {
        leaves_ = leaves;
        round_ = 0;
    }

    void unit_done(std::size_t unit) override { exchange(unit); }

    void add_leaf() override {
        exchange(units_.size() - 1);
        ++round_;
    }

    void finish() override {
        // A round that is not full: the other ranks have a leaf.
        if (round_ * ranks_.size() < leaves_) {
            for (std::size_t unit = units_.size() - 1; unit-- > 0;) exchange(unit);
            add_leaf();
        }
        for (std::size_t bucket = 0; bucket < trees_.size(); ++bucket) keep(bucket, trees_[bucket].finish());
    }

private:
    void keep(std::size_t bucket, const Tensor& sum) {
        std::size_t slice = first_slice(bucket);
        std::int64_t offset = 0;
        for (const ParameterSlice& part : layout_.part(bucket, ranks_.rank())) {
            gradients_[slice++] = sum.row_range(offset, offset + part.elements());
            offset += part.elements();
        }
    }

    void exchange(std::size_t unit) {
        const PurposeScope purpose(Purpose::gradients);
        std::vector<std::vector<LeafBlock>> blocks;
        for (int rank = 0; rank < ranks_.size(); ++rank) {
            const std::int64_t leaf = round_ * ranks_.size() + rank;
            blocks.push_back(leaf < leaves_ ? std::vector<LeafBlock>{{leaf, 0}} : std::vector<LeafBlock>{});
        }
        std::vector<PartialGradients> mine;
        if (const auto& own = blocks[static_cast<std::size_t>(ranks_.rank())]; !own.empty())
            mine.push_back({own.front(), take_gradients(units_[unit])});
        for (std::size_t bucket = layout_.first_bucket(unit); bucket < layout_.first_bucket(unit + 1); ++bucket)
            for (auto& [block, part] : exchange_.collect(bucket, mine, blocks)) trees_[bucket].push(block, part);
    }

    std::vector<LeafTree<Tensor, AddTensors>> trees_;   // by bucket
    std::int64_t leaves_ = 0;                           // of the step
    std::int64_t round_ = 0;                            // of one leaf for each rank
};

}   // namespace

std::unique_ptr<GradientSum> make_unit_sum(std::vector<std::vector<Parameter*>> units, DataPath& path) {
    return std::make_unique<UnitSum>(std::move(units), path);
}

}   // namespace trainer
