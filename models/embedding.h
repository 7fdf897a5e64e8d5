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

// Token embedding (V, C) with a slot for a low-rank adapter; as_head() gives the same weight as a tied output layer,
// which adapters and replacements of the embedding leave alone, as in PEFT.
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
        if (Parameter* other = parameter_.replacement)
            replaced_ =
                std::make_unique<DenseWeight>(std::vector<Parameter*>{other}, other->trained_dtype, compute, place);
        if (!adapter) return;
        for (Parameter* part : {adapter->a, adapter->b})
            part->value = Tensor::empty(part->shape, part->trained_dtype, place);
    }

    // x (N, C) of ids (N)
    Tensor operator()(const Tensor& ids, const ForwardContext& context) const {
        if (!context.adapters) return embedding(ids, *weight_, &parameter_, compute_);
        const Tensor x = replaced_ ? embedding(ids, *replaced_, parameter_.replacement, compute_)
                                   : embedding(ids, *weight_, &parameter_, compute_);
        return adapter ? embedding_low_rank(x, ids, *adapter->a, *adapter->b, adapter->scale) : x;
    }
    const LinearTerms& as_head() const { return head_; }
    const Shape& shape() const { return parameter_.shape; }
    Parameter& weight() const { return parameter_; }

    const std::string name;
    std::optional<LowRankRows> adapter;

private:
    Parameter& parameter_;
    std::unique_ptr<Weight> weight_;
    std::unique_ptr<DenseWeight> replaced_;   // what a replacement of the parameter computes with
    LinearTerms head_;
    DType compute_ = DType::f32;
};

}   // namespace trainer
