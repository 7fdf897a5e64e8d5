#include "trainer/gradient_sum.h"

#include <algorithm>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/cuda/rows.h"
#include "comm/collective.h"
#include "optim/clip.h"

namespace trainer {

namespace {

// Of a bucket: what stays in the processor's caches; for a device what is worth its way.
constexpr std::int64_t grains_on_host = 512;
constexpr std::int64_t grains_on_device = 4096;

// How many grains each rank owns.
std::vector<std::uint64_t> grains_by_rank(const ShardLayout& layout) {
    std::vector<std::uint64_t> counts(static_cast<std::size_t>(layout.ranks()));
    for (int rank = 0; rank < layout.ranks(); ++rank)
        for (std::size_t bucket = 0; bucket < layout.buckets(); ++bucket)
            counts[static_cast<std::size_t>(rank)] += layout.grains(bucket, rank);
    return counts;
}

// One value a grain: from rank after rank, as they are owned, to the order of the parameters.
std::vector<double> in_order_of_parameters(const ShardLayout& layout, const std::vector<std::uint64_t>& counts,
                                           const std::vector<double>& by_rank) {
    std::vector<const double*> next;   // by rank: its values of the next bucket
    for (const double* begin = by_rank.data(); const std::uint64_t count : counts) {
        next.push_back(begin);
        begin += count;
    }
    std::vector<double> ordered;
    ordered.reserve(by_rank.size());
    for (std::size_t bucket = 0; bucket < layout.buckets(); ++bucket)
        for (int rank = 0; rank < layout.ranks(); ++rank) {
            const double*& begin = next[static_cast<std::size_t>(rank)];
            const double* end = begin + layout.grains(bucket, rank);
            ordered.insert(ordered.end(), begin, end);
            begin = end;
        }
    return ordered;
}

}   // namespace

void AddTensors::operator()(Tensor& sum, const Tensor& term) const {
    if (!term.defined()) return;
    if (!sum.defined())
        sum = term;
    else
        on(sum.place(), [&](auto place) { add_rows(place, sum, term); });
}

GradientSum::GradientSum(std::vector<std::vector<Parameter*>> units, DataPath& path, bool sharded)
    : units_(std::move(units)),
      path_(path),
      ranks_(path.ranks()),
      sharded_(sharded && ranks_.size() > 1),
      layout_(units_, ranks_.size(), path.place().on_device() ? grains_on_device : grains_on_host),
      exchange_(path, layout_) {
    for (const auto& unit : units_) parameters_.insert(parameters_.end(), unit.begin(), unit.end());
    slices_ = sharded_ ? layout_.owned(ranks_.rank()) : whole_slices(parameters_);
    gradients_.resize(slices_.size());
}

GradientSum::Gradients GradientSum::take_gradients(const std::vector<Parameter*>& parameters) {
    Gradients taken;
    for (Parameter* parameter : parameters)
        if (parameter->gradient.defined()) taken[parameter] = std::exchange(parameter->gradient, Tensor());
    return taken;
}

std::size_t GradientSum::first_slice(std::size_t bucket) const {
    std::size_t slices = 0;
    for (std::size_t before = 0; before < bucket; ++before) slices += layout_.part(before, ranks_.rank()).size();
    return slices;
}

double GradientSum::norm() const {
    const std::vector<double> squares = squares_of(slices_, gradients_);
    if (!sharded_) return norm_of(squares);
    const std::vector<std::uint64_t> counts = grains_by_rank(layout_);
    return norm_of(in_order_of_parameters(layout_, counts, gather_values(ranks_, squares, counts)));
}

void GradientSum::forget_gradients() {
    std::fill(gradients_.begin(), gradients_.end(), Tensor());
    for (Parameter* parameter : parameters_) parameter->gradient = Tensor();
}

void GradientSum::share_values() {
    if (sharded_ && !parameters_.empty()) {
        const DType values = parameters_.front()->value.dtype();
        for (std::size_t bucket = 0; bucket < layout_.buckets(); ++bucket) {
            const Tensor part = Tensor::empty(layout_.elements(bucket, ranks_.rank()), values, path_.place());
            gather_slices(
                layout_.part(bucket, ranks_.rank()), [](const ParameterSlice& slice) { return slice.value(); }, part);
            exchange_.distribute(bucket, part, [](const ParameterSlice& slice) { return slice.value(); });
        }
    }
    for (Parameter* parameter : parameters_) parameter->changed();
    Parameter::renew_copies(parameters_);
}

std::unique_ptr<GradientSum> make_gradient_sum(std::vector<std::vector<Parameter*>> units, DataPath& path,
                                               Determinism sums, Sharding sharding) {
    if (sharding == Sharding::gradients && path.ranks().size() > 1) return make_unit_sum(std::move(units), path);
    return make_step_sum(std::move(units), path, sums, sharding != Sharding::none);
}

}   // namespace trainer
