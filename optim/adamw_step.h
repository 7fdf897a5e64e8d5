#pragma once

#include <cmath>

namespace trainer {

struct AdamWOptions;
struct Update;

// What an update of AdamW (optim/adamw.h) is for every element of a slice.
struct AdamWConstants {
    AdamWConstants(const AdamWOptions& options, const Update& update);

    constexpr void operator()(float g, float& value, float& mean, float& square) const {
        mean += take1 * (g - mean);
        square = beta2 * square + take2 * g * g;
        const float denominator = std::sqrt(square) / root_correction + eps;
        value = value * keep - step_size * mean / denominator;
    }

    float keep;    // 1 − lr·wd
    float take1;   // 1 − β₁, rounded once: 1.0f − 0.999f is off by 1e-5
    float beta2;
    float take2;             // 1 − β₂
    float step_size;         // lr / (1 − β₁ᵗ)
    float root_correction;   // √(1 − β₂ᵗ)
    float eps;
    float gradient_scale;
};

}   // namespace trainer
