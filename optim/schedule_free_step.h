#pragma once

#include <cmath>

namespace trainer {

// An update of schedule-free AdamW (optim/schedule_free_adamw.h): the value is y.
struct ScheduleFreeStep {
    constexpr void operator()(float g, float& y, float& z, float& square) const {
        square = beta2 * square + take2 * g * g;
        const float direction = g / (std::sqrt(square) / root_correction + eps) + decay * y;
        y += average * (z - y) + y_rate * direction;
        z -= z_rate * direction;
    }

    float beta2;
    float take2;             // 1 − β₂
    float root_correction;   // √(1 − β₂ᵗ)
    float eps;
    float decay;
    float average;   // c
    float y_rate;    // lr (β₁ (1 − c) − 1)
    float z_rate;
    float gradient_scale;
};

// y becomes x, the average; z stands in the gradient's place.
struct TowardsAverage {
    constexpr void operator()(float z, float& y) const { y += share * (z - y); }

    float share;   // 1 − 1/β₁
    float gradient_scale = 1;
};

}   // namespace trainer
