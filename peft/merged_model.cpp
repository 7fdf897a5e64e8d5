#include "peft/merged_model.h"

#include <algorithm>

#include "autograd/cpu/gemm.h"
#include "autograd/nonfinite.h"
#include "configs/error.h"
#include "models/embedding.h"
#include "models/linear.h"

namespace trainer {

namespace {

// weight (V, C) += scale · Aᵀ Bᵀ, with A (r, V) and B (C, r)
void add_rows(Tensor& weight, const Embedding::LowRankRows& rows) {
    Tensor scaled = Tensor::empty(rows.b->shape, DType::f32);
    const auto* b = rows.b->value.data<float>();
    std::transform(b, b + rows.b->shape.elements(), scaled.data<float>(),
                   [&](float value) { return rows.scale * value; });
    gemm(Cpu{}, weight, rows.a->value, true, scaled, true, true);
}

}   // namespace

MergedModel::MergedModel(Declarations& model, const SavedAdapter& adapter, const WeightSource& base)
    : model_(model), adapter_(adapter), base_(base) {
    for (Linear* linear : model.linears) {
        linears_[linear->weight->name] = linear;
        if (linear->bias) linears_[linear->bias->name] = linear;
        if (linear->adapter) linear->adapter->prepare(Place::cpu());
    }
    for (Embedding* embedding : model.embeddings) {
        embeddings_[embedding->name + ".weight"] = embedding;
        if (!embedding->adapter) continue;
        for (Parameter* part : {embedding->adapter->a, embedding->adapter->b})
            part->value = Tensor::empty(part->shape, DType::f32);
    }
    for (const Parameter* parameter : adapter.parameters())
        if (parameter->value.defined()) adapter.read(*parameter, parameter->value.data<float>());
}

bool MergedModel::needs_untying() const {
    const bool own_head = std::any_of(model_.linears.begin(), model_.linears.end(),
                                      [](const Linear* linear) { return linear->name == "lm_head"; });
    if (own_head) return false;
    return std::any_of(embeddings_.begin(), embeddings_.end(), [&](const auto& one) {
        return one.second->adapter || model_.parameters.find(one.first)->replacement;
    });
}

Tensor MergedModel::original(const Parameter& parameter) const {
    Tensor values = Tensor::empty(parameter.shape, DType::f32);
    base_.read(parameter.name, DType::f32, values.raw());
    return values;
}

Tensor MergedModel::merged(const Parameter& parameter) const {
    Tensor values;
    if (parameter.replacement) {
        values = Tensor::empty(parameter.shape, DType::f32);
        adapter_.read(*parameter.replacement, values.data<float>());
    } else {
        values = original(parameter);
    }
    if (const auto found = embeddings_.find(parameter.name); found != embeddings_.end()) {
        if (found->second->adapter) add_rows(values, *found->second->adapter);
    } else if (const auto linear = linears_.find(parameter.name); linear != linears_.end() && linear->second->adapter) {
        if (&parameter == linear->second->weight)
            linear->second->adapter->merge_weight(values);
        else
            linear->second->adapter->merge_bias(values);
    }
    const auto bad = first_nonfinite(values);
    require(!bad, Exit::diverged, "{} with the adapter in it holds {} at [{}, {}]; such a model cannot be used",
            parameter.name, bad ? bad->value : 0.0f, bad ? bad->row : 0, bad ? bad->column : 0);
    return values;
}

}   // namespace trainer
