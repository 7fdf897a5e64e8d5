#include "peft/low_rank_adapter.h"

#include <cmath>
#include <numeric>

#include "autograd/random.h"
#include "hub/adapter.h"
#include "peft/low_rank_values.h"

namespace trainer {

std::string adapter_parameter_name(const std::string& module, const std::string& part) {
    return std::string(adapter_prefix) + module + "." + part;
}

Parameter& declare_trained(ParameterSet& parameters, const std::string& name, Shape shape) {
    Parameter& parameter = parameters.declare(name, shape);
    parameter.trainable = true;
    parameter.in_base = false;
    return parameter;
}

LowRankAdapter::LowRankAdapter(const Linear& linear, const LowRankOptions& options, ParameterSet& parameters)
    : linear_(linear),
      options_(options),
      a_(declare_trained(parameters, adapter_parameter_name(linear.name, "lora_A.weight"),
                         Shape(options.rank, linear.in_features))),
      b_(declare_trained(parameters, adapter_parameter_name(linear.name, "lora_B.weight"),
                         Shape(linear.out_features, options.rank))),
      site_(site_key(linear.name, "lora_dropout")) {
    if (options.init != LowRankInit::pissa && options.init != LowRankInit::olora) return;
    initial_a_ = &declare_trained(parameters, adapter_parameter_name(linear.name, "lora_A.initial"), a_.shape);
    initial_b_ = &declare_trained(parameters, adapter_parameter_name(linear.name, "lora_B.initial"), b_.shape);
    initial_a_->trainable = initial_b_->trainable = false;
}

LowRank LowRankAdapter::low_rank() const {
    return {&a_, &b_, options_.scale, options_.dropout, site_, initial_a_, initial_b_};
}

void LowRankAdapter::prepare(Place place) {
    for (Parameter* part : {&a_, &b_, initial_a_, initial_b_})
        if (part) part->value = Tensor::empty(part->shape, a_.trained_dtype, place);
}

void LowRankAdapter::merge_weight(Tensor& weight) const {
    add_product(weight, b_.value, a_.value, options_.scale);
    if (initial_a_) add_product(weight, initial_b_->value, initial_a_->value, -options_.scale);
}

std::size_t LowRankAdapter::initial_workspace() const {
    if (!initial_a_) return 0;
    return decomposition_bytes(options_.init, linear_.out_features, linear_.in_features, options_.rank);
}

Tensor LowRankAdapter::layer_weight() const {
    const PurposeScope purpose(Purpose::workspace);
    const Place place = linear_.rows->place();
    Tensor ids = Tensor::empty(linear_.out_features, DType::i32, place.host());
    on(ids.place(), [&](Cpu) { std::iota(ids.data<std::int32_t>(), ids.data<std::int32_t>() + ids.elements(), 0); });
    Tensor weight = Tensor::empty({linear_.out_features, linear_.in_features}, DType::f32, place);
    linear_.rows->rows(ids, weight);
    return on_place(weight, place.host());
}

void LowRankAdapter::initialise(std::uint64_t seed) {
    if (initial_a_) {
        const Tensor weight = layer_weight();
        on(weight.place(), [&](Cpu) { fill_from_weight(weight, options_.init, options_.scale, a_, b_); });
        copy(a_.value, initial_a_->value);
        copy(b_.value, initial_b_->value);
        initial_a_->changed();
        initial_b_->changed();
        return;
    }
    if (options_.init == LowRankInit::gaussian)
        fill_normal(a_, 1.0f / static_cast<float>(options_.rank), seed);
    else
        fill_uniform(a_, 1.0f / std::sqrt(static_cast<float>(linear_.in_features)), seed);
    fill(b_, 0);
}

}   // namespace trainer
