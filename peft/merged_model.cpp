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

// Row ids[k] of weight = row k of the others.
void put_rows(Tensor& weight, const ReplacedRows& replaced) {
    const auto* from = replaced.rows->value.data<float>();
    const std::int64_t columns = weight.columns();
    for (std::size_t k = 0; k < replaced.ids.size(); ++k)
        std::copy_n(from + static_cast<std::int64_t>(k) * columns, columns,
                    weight.data<float>() + replaced.ids[k] * columns);
}

void allocate(const std::optional<ReplacedRows>& replaced) {
    if (replaced) replaced->rows->value = Tensor::empty(replaced->rows->shape, DType::f32);
}

}   // namespace

MergedModel::MergedModel(Declarations& model, const SavedAdapter& adapter, const WeightSource& base)
    : model_(model), adapter_(adapter), base_(base) {
    for (Linear* linear : model.linears) {
        linears_[linear->weight->name] = linear;
        if (linear->bias) linears_[linear->bias->name] = linear;
        for (const auto& one : linear->adapters) one->prepare(Place::cpu());
        allocate(linear->replaced_rows);
    }
    for (Embedding* embedding : model.embeddings) {
        embeddings_[embedding->name + ".weight"] = embedding;
        allocate(embedding->replaced_rows);
        for (const Embedding::LowRankRows& rows : embedding->adapters)
            for (Parameter* part : {rows.a, rows.b}) part->value = Tensor::empty(part->shape, DType::f32);
    }
    for (const auto& some : {adapter.parameters(), adapter.frozen()})
        for (const Parameter* parameter : some)
            if (parameter->value.defined()) adapter.read(*parameter, parameter->value.data<float>());
}

bool MergedModel::needs_untying() const {
    const bool own_head = std::any_of(model_.linears.begin(), model_.linears.end(),
                                      [](const Linear* linear) { return linear->name == head_name; });
    if (own_head) return false;
    return std::any_of(embeddings_.begin(), embeddings_.end(), [&](const auto& one) {
        return !one.second->adapters.empty() || model_.parameters.find(one.first)->replacement;
    });
}

Tensor MergedModel::original(const Parameter& parameter) const {
    Tensor values = Tensor::empty(parameter.shape, DType::f32);
    base_.read(parameter.name, DType::f32, values.raw());
    return values;
}

void MergedModel::merge(const Linear& linear, const Parameter& parameter, Tensor& values) {
    const bool is_weight = &parameter == linear.weight;
    if (is_weight && linear.replaced_rows) put_rows(values, *linear.replaced_rows);
    for (const auto& adapter : linear.adapters) is_weight ? adapter->merge_weight(values) : adapter->merge_bias(values);
}

Tensor MergedModel::merged(const Parameter& parameter) const {
    Tensor values;
    if (parameter.replacement) {
        values = Tensor::empty(parameter.shape, DType::f32);
        adapter_.read(*parameter.replacement, values.data<float>());
    } else {
        values = original(parameter);
    }
    if (const auto embedding = embeddings_.find(parameter.name); embedding != embeddings_.end()) {
        for (const Embedding::LowRankRows& rows : embedding->second->adapters) add_rows(values, rows);
        if (embedding->second->replaced_rows) put_rows(values, *embedding->second->replaced_rows);
    } else if (const auto found = linears_.find(parameter.name); found != linears_.end()) {
        merge(*found->second, parameter, values);
    }
    const auto bad = first_nonfinite(values);
    require(!bad, Exit::diverged, "{} with the adapter in it holds {} at [{}, {}]; such a model cannot be used",
            parameter.name, bad ? bad->value : 0.0f, bad ? bad->row : 0, bad ? bad->column : 0);
    return values;
}

}   // namespace trainer
