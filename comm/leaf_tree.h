#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace trainer {

// The leaves of a step (docs/semantics.md) are summed by one binary tree over their index, whoever computed them: over
// aligned blocks of 2^level leaves, and what is left at the end from right to left.
//
//     leaves 0 to 6:   ((0 + 1) + (2 + 3)) + ((4 + 5) + 6)

struct LeafRange {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    std::int64_t size() const { return end - begin; }
};

// The contiguous leaves of a rank: sizes differ by at most one; none when there are fewer leaves than ranks.
LeafRange leaves_of_rank(std::int64_t leaves, int rank, int ranks);

// The sum of leaves first … first + 2^level − 1; `first` is a multiple of 2^level.
struct LeafBlock {
    std::int64_t first = 0;
    int level = 0;
    friend bool operator==(const LeafBlock&, const LeafBlock&) = default;
};

// Whether the two are the halves of one block of the tree.
bool are_halves(const LeafBlock& left, const LeafBlock& right);

// The partial sums that the leaves of a range end in; at most 2 ⌊log2 size⌋ + 1, and ⌊log2 size⌋ + 1 where the range
// begins at 0.
std::vector<LeafBlock> blocks_of(const LeafRange& range);

// Sums values by the tree. `Add` is called as add(left, right) and leaves the sum in `left`.
template <typename Value, typename Add>
class LeafTree {
public:
    using Partial = std::pair<LeafBlock, Value>;

    explicit LeafTree(Add add) : add_(std::move(add)) {}

    // Blocks come in the order of their leaves.
    void push(LeafBlock block, Value value) {
        partials_.emplace_back(block, std::move(value));
        while (partials_.size() > 1 && are_halves(partials_[partials_.size() - 2].first, partials_.back().first)) {
            merge_last_two();
            ++partials_.back().first.level;
        }
    }

    bool empty() const { return partials_.empty(); }
    // The partial sums, which are forgotten here.
    std::vector<Partial> take() { return std::exchange(partials_, {}); }
    // The sum of everything; the tree is empty afterwards. Must not be empty.
    Value finish() {
        while (partials_.size() > 1) merge_last_two();
        Value sum = std::move(partials_.front().second);
        partials_.clear();
        return sum;
    }

private:
    void merge_last_two() {
        Value right = std::move(partials_.back().second);
        partials_.pop_back();
        add_(partials_.back().second, right);
    }

    Add add_;
    std::vector<Partial> partials_;
};

}   // namespace trainer
