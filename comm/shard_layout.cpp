#include "comm/shard_layout.h"

#include <algorithm>

namespace trainer {

namespace {

std::vector<ParameterSlice> grains_of(const std::vector<Parameter*>& parameters) {
    std::vector<ParameterSlice> grains;
    for (Parameter* parameter : parameters) {
        const std::int64_t elements = parameter->shape.elements();
        for (std::int64_t begin = 0; begin < elements; begin += ShardLayout::grain_elements)
            grains.push_back({parameter, begin, std::min(elements, begin + ShardLayout::grain_elements)});
    }
    return grains;
}

// Neighbouring grains of a parameter become one slice.
void append(std::vector<ParameterSlice>& slices, const ParameterSlice& grain) {
    if (!slices.empty() && slices.back().parameter == grain.parameter && slices.back().end == grain.begin)
        slices.back().end = grain.end;
    else
        slices.push_back(grain);
}

}   // namespace

ShardLayout::ShardLayout(const std::vector<std::vector<Parameter*>>& units, int ranks, std::int64_t bucket_grains)
    : ranks_(ranks) {
    for (const auto& unit : units) add_unit(unit, bucket_grains);
}

void ShardLayout::add_unit(const std::vector<Parameter*>& unit, std::int64_t bucket_grains) {
    const std::vector<ParameterSlice> grains = grains_of(unit);
    for (std::size_t begin = 0; begin < grains.size(); begin += static_cast<std::size_t>(bucket_grains)) {
        const std::size_t end = std::min(grains.size(), begin + static_cast<std::size_t>(bucket_grains));
        buckets_.push_back(cut(
            {grains.begin() + static_cast<std::ptrdiff_t>(begin), grains.begin() + static_cast<std::ptrdiff_t>(end)}));
    }
    unit_begins_.push_back(buckets_.size());
}

ShardLayout::Bucket ShardLayout::cut(const std::vector<ParameterSlice>& grains) const {
    Bucket bucket(static_cast<std::size_t>(ranks_));
    const auto count = grains.size();
    const auto ranks = static_cast<std::size_t>(ranks_);
    for (std::size_t rank = 0; rank < ranks; ++rank)
        for (std::size_t i = count * rank / ranks; i < count * (rank + 1) / ranks; ++i) append(bucket[rank], grains[i]);
    return bucket;
}

const std::vector<ParameterSlice>& ShardLayout::part(std::size_t bucket, int rank) const {
    return buckets_[bucket][static_cast<std::size_t>(rank)];
}

std::int64_t ShardLayout::elements(std::size_t bucket, int rank) const {
    std::int64_t elements = 0;
    for (const ParameterSlice& slice : part(bucket, rank)) elements += slice.elements();
    return elements;
}

std::int64_t ShardLayout::grains(const ParameterSlice& slice) {
    return (slice.elements() + grain_elements - 1) / grain_elements;
}

std::uint64_t ShardLayout::grains(std::size_t bucket, int rank) const {
    std::uint64_t all = 0;
    for (const ParameterSlice& slice : part(bucket, rank)) all += static_cast<std::uint64_t>(grains(slice));
    return all;
}

std::vector<ParameterSlice> ShardLayout::owned(int rank) const {
    std::vector<ParameterSlice> all;
    for (std::size_t bucket = 0; bucket < buckets(); ++bucket)
        all.insert(all.end(), part(bucket, rank).begin(), part(bucket, rank).end());
    return all;
}

}   // namespace trainer
