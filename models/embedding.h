#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/ops/embedding.h"
#include "autograd/ops/embedding_low_rank.h"
#include "autograd/ops/linear.h"
#include "autograd/quant/dense.h"
#include "autograd/quant/packed_weight.h"
#include "models/context.h"
#include "models/scope.h"

namespace trainer {

// Token embedding (V, C) with slots for low-rank adapters and for trained rows; as_head() gives the same weight as a
// tied output layer, which has the trained rows too, but not the adapters nor a replacement, as in PEFT.
class Embedding {
public:
    // x += scale · (columns of A picked by the ids)ᵀ Bᵀ, with A (r, V) and B (C, r).
    struct LowRankRows {
        Parameter* a;
        Parameter* b;
        float scale;
    };

    Embedding(const Scope& scope, std::int64_t vocabulary, std::int64_t size)
        : name(scope.path()), parameter_(scope.parameter("weight", Shape(vocabulary, size))) {
        scope.declarations().embeddings.push_back(this);
    }
    Embedding(const Embedding&) = delete;
    Embedding& operator=(const Embedding&) = delete;

    void prepare(Place place, DType compute) {
        const PurposeScope purpose(Purpose::weights);
        compute_ = compute;
        const DType storage = parameter_.trainable ? parameter_.trained_dtype : compute;
        weight_ = make_weight({&parameter_}, storage, compute, place);
        head_.weight = weight_.get();
        head_.dense = {{0, parameter_.shape.rows(), &parameter_, nullptr}};
        if (replaced_rows) {
            Parameter& rows = *replaced_rows->rows;
            rows.value = Tensor::empty(rows.shape, rows.trained_dtype, place);
        }
        head_with_rows_ = head_;
        if (replaced_rows) head_with_rows_.replaced = {*replaced_rows};
        if (Parameter* other = parameter_.replacement)
            replaced_ =
                std::make_unique<DenseWeight>(std::vector<Parameter*>{other}, other->trained_dtype, compute, place);
        for (const LowRankRows& adapter : adapters)
            for (Parameter* part : {adapter.a, adapter.b})
                part->value = Tensor::empty(part->shape, part->trained_dtype, place);
    }

    // x (N, C) of ids (N)
    Tensor operator()(const Tensor& ids, const ForwardContext& context) const {
        if (!context.adapters) return embedding(ids, *weight_, &parameter_, compute_);
        Tensor x = replaced_ ? embedding(ids, *replaced_, parameter_.replacement, compute_)
                             : embedding(ids, *weight_, &parameter_, compute_);
        if (replaced_rows) return replace_rows(x, ids, *replaced_rows);
        for (const LowRankRows& adapter : adapters)
            x = embedding_low_rank(x, ids, *adapter.a, *adapter.b, adapter.scale);
        return x;
    }
    const LinearTerms& as_head(const ForwardContext& context) const {
        return context.adapters ? head_with_rows_ : head_;
    }
    // The base's own values (N, C) f32 of the rows picked by ids (N) i32.
    Tensor original_rows(const Tensor& ids) const {
        Tensor rows = Tensor::empty({ids.elements(), parameter_.shape.columns()}, DType::f32, weight_->place());
        weight_->rows(ids, rows);
        return rows;
    }
    const Shape& shape() const { return parameter_.shape; }
    Parameter& weight() const { return parameter_; }

    const std::string name;
    std::vector<LowRankRows> adapters;           // their updates add up
    std::optional<ReplacedRows> replaced_rows;   // not together with adapters

private:
    Parameter& parameter_;
    std::unique_ptr<Weight> weight_;
    std::unique_ptr<DenseWeight> replaced_;   // what a replacement of the parameter computes with
    LinearTerms head_;
    LinearTerms head_with_rows_;
    DType compute_ = DType::f32;
};

}   // namespace trainer
