#include "autograd/parameter.h"

#include <type_traits>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/cuda/rows.h"
#include "configs/error.h"

namespace trainer {

void Parameter::add_gradient(Tensor g) {
    check(g.shape() == shape, "parameter {}: gradient {} for {}", name, g.shape().text(), shape.text());
    if (!gradient.defined() && g.dtype() == DType::f32 && g.contiguous() && g.sole_owner()) {
        gradient = g.detached();
        return;
    }
    if (!gradient.defined()) {
        const PurposeScope purpose(Purpose::gradients);
        gradient = Tensor::empty(shape, DType::f32, g.place());
        copy(g, gradient);
        return;
    }
    on(g.place(), [&](auto place) { add_rows(place, gradient, g); });
}

Tensor Parameter::zeroed_gradient(Place place) const {
    const PurposeScope purpose(Purpose::gradients);
    return Tensor::zeros(shape, DType::f32, place);
}

const Tensor& Parameter::in(DType dtype) {
    if (value.dtype() == dtype) return value;
    if (copy_version_ != version_ || copy_.dtype() != dtype) {
        const PurposeScope purpose(Purpose::weights);
        if (!copy_.defined() || copy_.dtype() != dtype) copy_ = Tensor::empty(shape, dtype, value.place());
        copy(value, copy_);
        copy_version_ = version_;
    }
    return copy_;
}

void Parameter::renew_copies(const std::vector<Parameter*>& parameters) {
    std::map<DType, std::pair<std::vector<Tensor>, std::vector<Tensor>>> by_dtype;
    for (Parameter* parameter : parameters) {
        const Tensor& value = parameter->value;
        if (!parameter->has_old_copy() || !value.place().is_cuda() || value.dtype() != DType::f32 ||
            reinterpret_cast<std::uintptr_t>(value.raw()) % 16 != 0)
            continue;   // `in` makes it when it is wanted
        auto& [in, out] = by_dtype[parameter->copy_.dtype()];
        in.push_back(value);
        out.push_back(parameter->copy_);
        parameter->copy_version_ = parameter->version_;
    }
    for (const auto& [dtype, pairs] : by_dtype)
        on(pairs.first.front().place(), [&pairs = pairs](auto place) {
            if constexpr (std::is_same_v<decltype(place), Cuda>) convert_all(place, pairs.first, pairs.second);
        });
}

void Parameter::set(const std::function<void(float*)>& write) {
    Tensor numbers = value;   // on the host
    const bool apart = value.dtype() != DType::f32 || value.place() != value.place().host();
    if (apart) {
        const PurposeScope purpose(Purpose::workspace);
        numbers = Tensor::empty(shape, DType::f32, value.place().host());
    }
    if (!value.place().is_meta()) write(numbers.data<float>());
    if (value.place().is_cuda())
        copy(converted(numbers, value.dtype()), value);
    else if (apart)
        copy(numbers, value);
    changed();
}

void Parameter::changed() { ++version_; }

Parameter& ParameterSet::declare(const std::string& leaf, Shape shape) {
    const std::string name = prefix_ + leaf;
    check(by_name_.count(name) == 0, "parameter {} is declared twice", name);
    all_.push_back(std::make_unique<Parameter>(name, shape));
    by_name_[name] = all_.back().get();
    return *all_.back();
}

Parameter* ParameterSet::find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : found->second;
}

std::vector<Parameter*> ParameterSet::trainable() const {
    std::vector<Parameter*> out;
    for (const auto& parameter : all_)
        if (parameter->trainable) out.push_back(parameter.get());
    return out;
}

std::int64_t ParameterSet::elements(bool trainable_only) const {
    std::int64_t count = 0;
    for (const auto& parameter : all_)
        if (parameter->trainable || !trainable_only) count += parameter->shape.elements();
    return count;
}

}   // namespace trainer
