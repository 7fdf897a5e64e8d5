#pragma once

#include <array>
#include <memory>

#include "configs/fields.h"
#include "optim/adamw_step.h"
#include "optim/optimizer.h"

namespace trainer {

struct AdamWOptions {
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("betas", betas, "decay of the running means of the gradient and of its square", at_least(0), below(1));
        field("eps", eps, "added to the root of the second mean", above(0));
    }
};

// AdamW as torch computes it (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019):
//   p ← p (1 − lr·wd)
//   m ← m + (1 − β₁)(g − m),  v ← β₂ v + (1 − β₂) g²
//   p ← p − lr/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices);

// The same as a part of other rules: state "exp_avg", "exp_avg_sq".
std::vector<StateTensor> adamw_state();
void adamw_update(const AdamWOptions& options, const Tensor& value, const Tensor& gradient, Optimizer::State& state,
                  const Update& update);

}   // namespace trainer
