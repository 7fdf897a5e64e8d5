#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

struct AdemamixOptions {
    std::array<double, 3> betas{0.9, 0.999, 0.9999};
    double eps = 1e-8;
    double alpha = 5.0;
    std::optional<std::int64_t> alpha_warmup;
    std::optional<std::int64_t> beta3_warmup;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("betas", betas, "decay of the fast mean of gradients, of the mean of their squares, and of the slow mean",
              above(0), below(1));
        field("eps", eps, "added to the root of the mean of squares", above(0));
        field("alpha", alpha, "weight of the slow mean beside the fast one", at_least(0));
        field("alpha_warmup", alpha_warmup,
              "updates in which alpha rises from 0 in a straight line; null: it is full at once. The paper takes all "
              "updates of the run",
              between(1, 1e9));
        field("beta3_warmup", beta3_warmup,
              "updates in which the third decay rises from the first, its half-life in a straight line; null: it is "
              "full at once. The paper takes all updates of the run",
              between(1, 1e9));
    }
};

// AdEMAMix (Pagliardini, Ablin and Grangier, 2024): AdamW with a second mean of gradients that forgets slowly.
//   m ← β₁ m + (1 − β₁) g,  s ← β₃(t) s + (1 − β₃(t)) g,  v ← β₂ v + (1 − β₂) g²
//   p ← p (1 − lr·wd) − lr (m / (1 − β₁ᵗ) + α(t) s) / (√v / √(1 − β₂ᵗ) + eps)
// with α(t) = α min(1, t/T_α), and β₃(t) = min(β₃, exp(ln β₁ ln β₃ / ((1 − t/T) ln β₃ + t/T ln β₁))).
std::unique_ptr<Optimizer> make_ademamix(const AdemamixOptions& options, const std::vector<UpdatedSlice>& slices);

// α(t) and β₃(t) for update t, counted from 1.
double ademamix_alpha(const AdemamixOptions& options, std::int64_t update);
double ademamix_beta3(const AdemamixOptions& options, std::int64_t update);

}   // namespace trainer
