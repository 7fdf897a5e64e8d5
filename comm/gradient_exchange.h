#pragma once

#include <functional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "comm/data_path.h"
#include "comm/leaf_tree.h"
#include "comm/shard_layout.h"

namespace trainer {

// The gradients of a block of leaves; a parameter that is not in it got none.
struct PartialGradients {
    LeafBlock block;
    std::unordered_map<Parameter*, Tensor> by_parameter;
};

// Moves gradients and values between ranks, one bucket of the layout at a time. An element's sum depends on the tree
// alone, not on the bucket, the part or the rank it lies in. Collective.
class GradientExchange {
public:
    GradientExchange(DataPath& path, const ShardLayout& layout) : path_(path), layout_(layout) {}

    // What all ranks hold of this rank's part of the bucket, in the order of the ranks: a one-dimensional f32 tensor
    // for each block, counted under the current purpose. `blocks[r]` are the blocks that rank r brings; `mine` are this
    // rank's, in that order.
    std::vector<std::pair<LeafBlock, Tensor>> collect(std::size_t bucket, const std::vector<PartialGradients>& mine,
                                                      const std::vector<std::vector<LeafBlock>>& blocks);

    // Every rank's part of the bucket at every rank: written to `target` of each slice (a one-dimensional view, not of
    // `part`, in its dtype). `part`: this rank's, one-dimensional.
    void distribute(std::size_t bucket, const Tensor& part, const std::function<Tensor(const ParameterSlice&)>& target);

private:
    DataPath& path_;
    const ShardLayout& layout_;
};

// The values of slices one after another in `out`. Where a gradient (f32) is missing it gets −0, to which nothing is
// added when it is added.
void gather_slices(const std::vector<ParameterSlice>& slices,
                   const std::function<Tensor(const ParameterSlice&)>& values, Tensor out);

}   // namespace trainer
