#include "optim/optimizer.h"

#include <algorithm>

#include "comm/shard_layout.h"
#include "configs/error.h"
#include "optim/stochastic_rounding.h"

namespace trainer {

namespace {

constexpr std::int64_t piece_elements = 256 * ShardLayout::grain_elements;   // widened at once

}   // namespace

Optimizer::Optimizer(const std::vector<UpdatedSlice>& slices) : updated_(slices) {
    for (const UpdatedSlice& one : slices) slices_.push_back(one.slice);
}

void Optimizer::prepare(OffloadStore* store) {
    const PurposeScope purpose(Purpose::optimizer);
    state_.clear();
    waiting_.clear();
    store_ = store;
    for (const ParameterSlice& slice : slices_) {
        State& state = state_.emplace_back();
        for (const StateTensor& tensor : state_tensors(*slice.parameter))
            state[tensor.name] =
                Tensor::zeros(tensor.end(slice) - tensor.begin(slice), tensor.dtype, slice.parameter->value.place());
        initialise(slice, state);
        if (!store_) continue;
        auto& waiting = waiting_.emplace_back();
        for (const auto& [name, tensor] : state) {
            waiting[name] = std::make_unique<Offloaded>(*store_, tensor);
            waiting[name]->save(tensor);
        }
    }
}

void Optimizer::with_state(std::size_t slice, Access access, const std::function<void(State&)>& work) {
    State& state = state_[slice];
    if (!store_) return work(state);
    const PurposeScope purpose(Purpose::optimizer);
    for (const auto& [name, tensor] : state) waiting_[slice].at(name)->load(tensor);
    work(state);
    for (const auto& [name, tensor] : state) {
        if (access == Access::change) waiting_[slice].at(name)->write(tensor);
        tensor.give_memory_back();
    }
}

void Optimizer::step(const std::vector<Tensor>& gradients, double learning_rate, float gradient_scale) {
    check(gradients.size() == slices_.size(), "optimizer: {} gradients for {} slices", gradients.size(),
          slices_.size());
    begin_step(learning_rate);
    std::vector<Together> together;
    for (std::size_t i = 0; i < slices_.size(); ++i)
        if (!store_ && updates_together() && slices_[i].parameter->value.place().on_device())
            together.push_back({slices_[i].value(), gradients[i], &state_[i], how_to_update(i, gradient_scale)});
        else
            update_slice(i, gradients[i], gradient_scale);
    if (!together.empty()) update_together(together);
}

void Optimizer::begin_step(double learning_rate) {
    ++steps_;
    learning_rate_ = learning_rate;
    prepare_step(learning_rate);
}

template <typename Compute, typename Store>
void Optimizer::in_pieces(std::size_t slice, State& whole_state, const Compute& compute, const Store& store) {
    const ParameterSlice& whole = slices_[slice];
    if (whole.parameter->value.dtype() == DType::f32) return compute(whole, whole.value(), 0, whole_state);
    const std::int64_t at_once =
        by_element(*whole.parameter) ? std::min(piece_elements, whole.elements()) : whole.elements();
    const std::vector<StateTensor> tensors = state_tensors(*whole.parameter);
    Tensor wide;
    {
        const PurposeScope purpose(Purpose::workspace);
        wide = Tensor::empty(at_once, DType::f32, whole.parameter->value.place());
    }
    for (std::int64_t begin = whole.begin; begin < whole.end; begin += at_once) {
        const ParameterSlice part{whole.parameter, begin, std::min(whole.end, begin + at_once)};
        State state;
        for (const StateTensor& tensor : tensors) {
            const std::int64_t first = tensor.begin(whole);
            state[tensor.name] =
                whole_state.at(tensor.name).row_range(tensor.begin(part) - first, tensor.end(part) - first);
        }
        Tensor value = wide.row_range(0, part.elements());
        Tensor stored = part.value();
        copy(stored, value);
        compute(part, value, begin - whole.begin, state);
        store(part, value, stored);
    }
}

Update Optimizer::how_to_update(std::size_t slice, float gradient_scale) const {
    const UpdatedSlice& updated = updated_[slice];
    const Parameter& parameter = *updated.slice.parameter;
    return {learning_rate_ * parameter.lr_scale * updated.rate, updated.weight_decay, gradient_scale, steps_,
            Rounding{rounding_key(seed_, steps_, parameter.name), updated.slice.begin}};
}

void Optimizer::update_slice(std::size_t slice, const Tensor& gradient, float gradient_scale) {
    const UpdatedSlice& updated = updated_[slice];
    const Parameter& parameter = *updated.slice.parameter;
    const Update how = how_to_update(slice, gradient_scale);
    with_state(slice, Access::change, [&](State& whole) {
        if (parameter.value.place().on_device() && by_element(parameter))
            return update(updated.slice, updated.slice.value(), gradient, whole, how);
        in_pieces(
            slice, whole,
            [&](const ParameterSlice& part, const Tensor& value, std::int64_t begin, State& state) {
                const Tensor given = gradient.defined() ? gradient.row_range(begin, begin + part.elements()) : Tensor();
                update(part, value, given, state, how);
            },
            [&how](const ParameterSlice& part, const Tensor& value, Tensor& stored) {
                round_stochastically(how.rounding.key, part.begin, value, stored);
            });
    });
}

void Optimizer::to_evaluation_values() {
    for (std::size_t i = 0; i < slices_.size(); ++i)
        with_state(i, Access::read, [&](State& whole) {
            in_pieces(
                i, whole,
                [&](const ParameterSlice&, const Tensor& value, std::int64_t, State& state) {
                    to_evaluation_value(value, state);
                },
                [](const ParameterSlice&, const Tensor& value, Tensor& stored) { copy(value, stored); });
        });
}

}   // namespace trainer
