#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/parameter_slice.h"

namespace trainer {

// How the elements of the trainable parameters are cut among ranks. Parameters are taken in order and cut into grains;
// consecutive grains of one unit (a block of the model, or the rest) form buckets, which are exchanged one after
// another; each rank owns an equal, contiguous part of every bucket. The cut into grains does not depend on the number
// of ranks: what is computed per grain (optim/clip.h) has the same bits for all.
class ShardLayout {
public:
    static constexpr std::int64_t grain_elements = 1024;   // fewer at the end of a parameter
    static std::int64_t grains(const ParameterSlice& slice);

    // `bucket_grains`: at most that many in a bucket.
    ShardLayout(const std::vector<std::vector<Parameter*>>& units, int ranks, std::int64_t bucket_grains);

    int ranks() const { return ranks_; }
    std::size_t buckets() const { return buckets_.size(); }
    // The buckets of a unit are [first_bucket(unit), first_bucket(unit + 1)).
    std::size_t first_bucket(std::size_t unit) const { return unit_begins_[unit]; }

    // What a rank owns of a bucket; the parts of all ranks, one after another, are the bucket.
    const std::vector<ParameterSlice>& part(std::size_t bucket, int rank) const;
    std::int64_t elements(std::size_t bucket, int rank) const;
    std::uint64_t grains(std::size_t bucket, int rank) const;
    // The parts of all buckets.
    std::vector<ParameterSlice> owned(int rank) const;

private:
    using Bucket = std::vector<std::vector<ParameterSlice>>;   // by rank
    void add_unit(const std::vector<Parameter*>& unit, std::int64_t bucket_grains);
    Bucket cut(const std::vector<ParameterSlice>& grains) const;

    int ranks_;
    std::vector<Bucket> buckets_;
    std::vector<std::size_t> unit_begins_{0};
};

}   // namespace trainer
