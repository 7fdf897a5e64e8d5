#include "comm/shard_layout.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace trainer {
namespace {

struct Units {
    std::vector<std::unique_ptr<Parameter>> owned;
    std::vector<std::vector<Parameter*>> units;

    explicit Units(const std::vector<std::vector<std::int64_t>>& sizes) {
        for (const auto& unit : sizes) {
            units.emplace_back();
            for (const std::int64_t size : unit) {
                owned.push_back(std::make_unique<Parameter>("p" + std::to_string(owned.size()), Shape(size)));
                units.back().push_back(owned.back().get());
            }
        }
    }
};

// Every element has one owner, in order, and parts of a bucket differ by at most a grain in size.
void expect_cut(const Units& units, int ranks, std::int64_t bucket_grains) {
    const ShardLayout layout(units.units, ranks, bucket_grains);
    std::vector<ParameterSlice> all;
    for (std::size_t bucket = 0; bucket < layout.buckets(); ++bucket) {
        std::int64_t grains = 0;
        for (int rank = 0; rank < ranks; ++rank)
            for (const ParameterSlice& slice : layout.part(bucket, rank)) {
                EXPECT_EQ(slice.begin % ShardLayout::grain_elements, 0);
                grains += (slice.elements() + ShardLayout::grain_elements - 1) / ShardLayout::grain_elements;
                all.push_back(slice);
            }
        EXPECT_LE(grains, bucket_grains);
    }
    std::size_t next = 0;
    for (const auto& unit : units.units)
        for (const Parameter* parameter : unit)
            for (std::int64_t begin = 0; begin < parameter->shape.elements(); ++next) {
                ASSERT_LT(next, all.size());
                EXPECT_EQ(all[next].parameter, parameter);
                EXPECT_EQ(all[next].begin, begin);
                begin = all[next].end;
            }
    EXPECT_EQ(next, all.size());
    std::size_t owned = 0;
    for (int rank = 0; rank < ranks; ++rank) owned += layout.owned(rank).size();
    EXPECT_EQ(owned, all.size());
}

TEST(ShardLayout, TilesTheParameters) {
    std::mt19937 random(8);
    for (int trial = 0; trial < 40; ++trial) {
        std::vector<std::vector<std::int64_t>> sizes(1 + random() % 4);
        for (auto& unit : sizes)
            for (std::size_t i = random() % 5; i > 0; --i) unit.push_back(1 + random() % 9000);
        const Units units(sizes);
        for (const int ranks : {1, 2, 3, 8, 13}) expect_cut(units, ranks, 1 + static_cast<std::int64_t>(random() % 9));
    }
}

TEST(ShardLayout, PartsAreBalanced) {
    const Units units(std::vector<std::vector<std::int64_t>>{{100 * ShardLayout::grain_elements}});
    const ShardLayout layout(units.units, 3, 100);
    ASSERT_EQ(layout.buckets(), 1u);
    for (int rank = 0; rank < 3; ++rank) EXPECT_NEAR(static_cast<double>(layout.elements(0, rank)), 34133, 1024);
}

TEST(ShardLayout, UnitsHaveTheirOwnBuckets) {
    const Units units(std::vector<std::vector<std::int64_t>>{{10, 20}, {}, {5000}});
    const ShardLayout layout(units.units, 2, 2);
    EXPECT_EQ(layout.first_bucket(1), 1u);
    EXPECT_EQ(layout.first_bucket(2), 1u);   // no parameters, no bucket
    EXPECT_EQ(layout.first_bucket(3), layout.buckets());
    EXPECT_EQ(layout.buckets(), 4u);
}

}   // namespace
}   // namespace trainer
