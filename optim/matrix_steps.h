#pragma once

#include <cmath>

namespace trainer {

// What rules for whole matrices (Adafactor, Muon, APOLLO) do to every element between their products and sums.

// value ← gradient
struct TakeGradient {
    struct OverwritesValue {};
    constexpr void operator()(float g, float& value) const { value = g; }

    float gradient_scale;
};

// p ← p·keep − rate·u, with u in the gradient's place.
struct Descent {
    constexpr void operator()(float u, float& value) const { value = value * keep - rate * u; }

    float keep;
    float rate;
    float gradient_scale = 1;
};

// Muon: the running mean of gradients, and where to go.
struct MuonMomentum {
    struct OverwritesValue {};
    constexpr void operator()(float g, float& direction, float& mean) const {
        mean += take * (g - mean);
        direction = nesterov ? g + keep * (mean - g) : mean;
    }

    float keep;   // μ
    float take;   // 1 − μ
    bool nesterov;
    float gradient_scale;
};

// Muon: what an element of A² becomes in a I + b A + c A².
struct NewtonSchulz {
    static constexpr float a = 3.4445f;
    static constexpr float b = -4.7750f;
    static constexpr float c = 2.0315f;
    static constexpr float mixed(float power, float square, bool diagonal) {
        const float sum = c * square + b * power;
        return diagonal ? sum + a : sum;
    }
};

// APOLLO: m, v ← means of R; N ← m / (√v + eps). R stands in the gradient's place.
struct ApolloMeans {
    struct OverwritesValue {};
    constexpr void operator()(float r, float& normed, float& mean, float& square) const {
        mean = keep1 * mean + take1 * r;
        square = keep2 * square + take2 * r * r;
        normed = mean / (std::sqrt(square) + eps);
    }

    float keep1, take1;
    float keep2, take2;
    float eps;
    float gradient_scale = 1;
};

// Adafactor: a vector's running mean of g² in double, rounded once; it is the value.
struct FoldSquare {
    constexpr void operator()(float g, float& square) const {
        const auto wide = static_cast<double>(g);
        square = static_cast<float>(beta * static_cast<double>(square) + (1 - beta) * (wide * wide + eps));
    }

    double beta;
    double eps;
    float gradient_scale;
};

}   // namespace trainer
