#pragma once

namespace trainer {

// An update of SGD (optim/sgd.h), without and with momentum.
struct SgdStep {
    constexpr void operator()(float gradient, float& value) const { value -= rate * (gradient + decay * value); }
    constexpr void operator()(float gradient, float& value, float& sum) const {
        const float g = gradient + decay * value;
        sum = momentum * sum + g;
        value -= rate * (nesterov ? g + momentum * sum : sum);
    }

    float rate;
    float decay;
    float momentum;
    bool nesterov;
    float gradient_scale;
};

}   // namespace trainer
