#include "trainer/gradient_sum.h"

#include <algorithm>
#include <utility>

#include "autograd/cpu/rows.h"
#include "comm/collective.h"
#include "optim/clip.h"

namespace trainer {

void AddTensors::operator()(Tensor& sum, const Tensor& term) const {
    if (!term.defined()) return;
    if (!sum.defined())
        sum = term;
    else
        on(sum.place(), [&](Cpu cpu) { add_rows(cpu, sum, term); });
}

GradientSum::GradientSum(std::vector<std::vector<Parameter*>> units, Communicator& ranks, bool sharded, Place place)
    : units_(std::move(units)),
      ranks_(ranks),
      sharded_(sharded && ranks.size() > 1),
      place_(place),
      layout_(units_, ranks.size()),
      exchange_(ranks, layout_, place) {
    for (const auto& unit : units_) parameters_.insert(parameters_.end(), unit.begin(), unit.end());
    slices_ = sharded_ ? layout_.owned(ranks.rank()) : whole_slices(parameters_);
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
    std::vector<double> squares;
    if (!sharded_) {
        for (std::size_t i = 0; i < slices_.size(); ++i) append_squares(slices_[i], gradients_[i], squares);
        return norm_of(squares);
    }
    std::vector<std::vector<double>> by_bucket(layout_.buckets());
    std::size_t slice = 0;
    for (std::size_t bucket = 0; bucket < layout_.buckets(); ++bucket)
        for (std::size_t i = 0; i < layout_.part(bucket, ranks_.rank()).size(); ++i, ++slice)
            append_squares(slices_[slice], gradients_[slice], by_bucket[bucket]);
    for (const auto& bucket : by_bucket) {
        const std::vector<double> all = gather_values(ranks_, bucket);
        squares.insert(squares.end(), all.begin(), all.end());
    }
    return norm_of(squares);
}

void GradientSum::forget_gradients() {
    std::fill(gradients_.begin(), gradients_.end(), Tensor());
    for (Parameter* parameter : parameters_) parameter->gradient = Tensor();
}

void GradientSum::share_values() {
    if (sharded_) {
        for (std::size_t bucket = 0; bucket < layout_.buckets(); ++bucket) {
            const Tensor part = Tensor::empty(layout_.elements(bucket, ranks_.rank()), DType::f32, place_);
            gather_slices(
                layout_.part(bucket, ranks_.rank()), [](const ParameterSlice& slice) { return slice.value(); }, part);
            exchange_.distribute(bucket, part, [](const ParameterSlice& slice) { return slice.value(); });
        }
    }
    for (Parameter* parameter : parameters_) parameter->changed();
}

std::unique_ptr<GradientSum> make_gradient_sum(std::vector<std::vector<Parameter*>> units, Communicator& ranks,
                                               Determinism sums, Sharding sharding, Place place) {
    if (sharding == Sharding::gradients && ranks.size() > 1) return make_unit_sum(std::move(units), ranks, place);
    return make_step_sum(std::move(units), ranks, sums, sharding != Sharding::none, place);
}

}   // namespace trainer
