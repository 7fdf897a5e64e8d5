#pragma once

namespace trainer {

// An update of Lion (optim/lion.h).
struct LionStep {
    constexpr void operator()(float g, float& value, float& mean) const {
        const float direction = beta1 * mean + take1 * g;
        const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
        value = value * keep - rate * sign;
        mean = beta2 * mean + take2 * g;
    }

    float keep;   // 1 − lr·wd
    float rate;
    float beta1;
    float take1;   // 1 − β₁
    float beta2;
    float take2;
    float gradient_scale;
};

}   // namespace trainer
