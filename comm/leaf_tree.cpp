#include "comm/leaf_tree.h"

#include <bit>

namespace trainer {

LeafRange leaves_of_rank(std::int64_t leaves, int rank, int ranks) {
    return {leaves * rank / ranks, leaves * (rank + 1) / ranks};
}

bool are_halves(const LeafBlock& left, const LeafBlock& right) {
    return left.level == right.level && left.first % (std::int64_t{2} << left.level) == 0 &&
           right.first == left.first + (std::int64_t{1} << left.level);
}

std::vector<LeafBlock> blocks_of(const LeafRange& range) {
    std::vector<LeafBlock> blocks;
    for (std::int64_t leaf = range.begin; leaf < range.end;) {
        int level = std::bit_width(static_cast<std::uint64_t>(range.end - leaf)) - 1;
        while (leaf % (std::int64_t{1} << level) != 0) --level;
        blocks.push_back({leaf, level});
        leaf += std::int64_t{1} << level;
    }
    return blocks;
}

}   // namespace trainer
