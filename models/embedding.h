#pragma once

#include <memory>

#include "autograd/ops/embedding.h"
#include "autograd/ops/linear.h"
#include "autograd/quant/packed_weight.h"
#include "models/scope.h"

namespace trainer {

// Token embedding (V, C); as_head() gives the same weight as a tied output layer.
class Embedding {
public:
    Embedding(const Scope& scope, std::int64_t vocabulary, std::int64_t size)
        : parameter_(scope.parameter("weight", Shape(vocabulary, size))) {}

    void prepare(Place place, DType compute) {
        const PurposeScope purpose(Purpose::weights);
        compute_ = compute;
        const DType storage = parameter_.trainable ? DType::f32 : compute;
        weight_ = make_weight({&parameter_}, storage, compute, place);
        head_.weight = weight_.get();
        head_.dense = {{0, parameter_.shape.rows(), &parameter_, nullptr}};
    }

    // x (N, C) of ids (N)
    Tensor operator()(const Tensor& ids) const { return embedding(ids, *weight_, &parameter_, compute_); }
    const LinearTerms& as_head() const { return head_; }

private:
    Parameter& parameter_;
    std::unique_ptr<Weight> weight_;
    LinearTerms head_;
    DType compute_ = DType::f32;
};

}   // namespace trainer
