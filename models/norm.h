#pragma once

#include <utility>

#include "autograd/ops/rms_norm.h"
#include "autograd/tape.h"
#include "models/context.h"
#include "models/scope.h"

namespace trainer {

// RMSNorm with its weight (C).
class Norm {
public:
    Norm(const Scope& scope, std::int64_t size, float eps)
        : weight_(scope.parameter("weight", Shape(size))), eps_(eps) {
        weight_.decay = false;
    }

    void prepare(Place place, DType compute) {
        const PurposeScope purpose(Purpose::weights);
        weight_.value = Tensor::empty(weight_.shape, weight_.trainable ? weight_.trained_dtype : compute, place);
        if (Parameter* other = weight_.replacement)
            other->value = Tensor::empty(other->shape, other->trained_dtype, place);
    }

    Tensor operator()(const Tensor& x, const ForwardContext& context) const {
        return rms_norm(x, weight(context), eps_);
    }
    AddNorm operator()(const Tensor& x, const Tensor& residual, const ForwardContext& context) const {
        return add_rms_norm(x, residual, weight(context), eps_);
    }

    // To be called when all have run that take y = norm(x).
    void leave_memory(Tensor y, const Tensor& x, const ForwardContext& context) const {
        if (context.recompute != Recompute::norms) return;
        trainer::leave_memory(std::move(y), [x = x.detached(), &weight = weight(context), eps = eps_] {
            return rms_norm(x, weight, eps);
        });
    }

private:
    Parameter& weight(const ForwardContext& context) const {
        return context.adapters && weight_.replacement ? *weight_.replacement : weight_;
    }

    Parameter& weight_;
    float eps_;
};

}   // namespace trainer
