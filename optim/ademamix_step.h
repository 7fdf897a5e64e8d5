#pragma once

#include <cmath>

namespace trainer {

struct AdemamixOptions;
struct Update;

// An update of AdEMAMix (optim/ademamix.h).
struct AdemamixStep {
    AdemamixStep(const AdemamixOptions& options, const Update& update);

    constexpr void operator()(float g, float& value, float& fast, float& slow, float& square) const {
        fast += take1 * (g - fast);
        slow += take3 * (g - slow);
        square = beta2 * square + take2 * g * g;
        const float denominator = std::sqrt(square) / root_correction + eps;
        const float direction = (fast * correction + alpha * slow) / denominator;
        value = value * keep - rate * direction;
    }

    float keep;   // 1 − lr·wd
    float rate;
    float take1;   // 1 − β₁
    float beta2;
    float take2;        // 1 − β₂
    float take3;        // 1 − β₃(t)
    float alpha;        // α(t)
    float correction;   // 1 / (1 − β₁ᵗ)
    float root_correction;
    float eps;
    float gradient_scale;
};

}   // namespace trainer
