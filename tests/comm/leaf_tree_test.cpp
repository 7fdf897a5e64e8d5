#include "comm/leaf_tree.h"

#include <gtest/gtest.h>

#include <bit>
#include <string>

namespace trainer {
namespace {

struct Join {
    void operator()(std::string& left, const std::string& right) const { left = "(" + left + "+" + right + ")"; }
};
using TextTree = LeafTree<std::string, Join>;

std::string summed(std::int64_t leaves) {
    TextTree tree{Join()};
    for (std::int64_t leaf = 0; leaf < leaves; ++leaf) tree.push({leaf, 0}, std::to_string(leaf));
    return tree.finish();
}

TEST(LeafTree, HasOneShapeForANumberOfLeaves) {
    EXPECT_EQ(summed(1), "0");
    EXPECT_EQ(summed(3), "((0+1)+2)");
    EXPECT_EQ(summed(7), "(((0+1)+(2+3))+((4+5)+6))");
}

TEST(LeafTree, RanksShareTheLeavesOut) {
    for (std::int64_t leaves = 0; leaves < 40; ++leaves)
        for (int ranks = 1; ranks < 12; ++ranks) {
            std::int64_t next = 0;
            for (int rank = 0; rank < ranks; ++rank) {
                const LeafRange range = leaves_of_rank(leaves, rank, ranks);
                EXPECT_EQ(range.begin, next);
                EXPECT_LE(range.size(), leaves / ranks + 1);
                EXPECT_GE(range.size(), leaves / ranks);
                next = range.end;
            }
            EXPECT_EQ(next, leaves);
        }
}

TEST(LeafTree, PartialSumsOfRanksMakeTheSameTree) {
    for (std::int64_t leaves = 1; leaves < 40; ++leaves)
        for (int ranks = 1; ranks < 12; ++ranks) {
            TextTree all{Join()};
            for (int rank = 0; rank < ranks; ++rank) {
                const LeafRange range = leaves_of_rank(leaves, rank, ranks);
                TextTree mine{Join()};
                for (std::int64_t leaf = range.begin; leaf < range.end; ++leaf)
                    mine.push({leaf, 0}, std::to_string(leaf));
                std::vector<LeafBlock> blocks;
                for (auto& [block, value] : mine.take()) {
                    blocks.push_back(block);
                    all.push(block, std::move(value));
                }
                EXPECT_EQ(blocks, blocks_of(range));
                EXPECT_LE(blocks.size(),
                          2u * static_cast<unsigned>(std::bit_width(static_cast<std::uint64_t>(range.size() + 1))));
            }
            EXPECT_EQ(all.finish(), summed(leaves)) << ranks << " ranks";
        }
}

}   // namespace
}   // namespace trainer
