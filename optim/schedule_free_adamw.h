#pragma once

#include <array>
#include <memory>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

struct ScheduleFreeOptions {
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;
    double step_power = 0.0;
    double lr_power = 2.0;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("betas", betas, "share of the average in the trained point; decay of the mean of squared gradients",
              above(0), below(1));
        field("eps", eps, "added to the root of that mean", above(0));
        field("step_power", step_power, "step t counts as t^step_power in the average", at_least(0));
        field("lr_power", lr_power, "and as the highest learning rate so far to this power", at_least(0));
    }
};

// Schedule-free AdamW (Defazio et al., "The road less scheduled", 2024). Gradients are taken at y, the parameter's
// value while it trains; z is the point of AdamW's steps, x, the average of z, the one to evaluate and to save:
//   v ← β₂ v + (1 − β₂) g²,  d = g / (√(v / (1 − β₂ᵗ)) + eps) + wd·y
//   w = t^step_power · (highest lr)^lr_power,  c = w / Σ w
//   y ← y + c (z − y) + lr (β₁ (1 − c) − 1) d,  z ← z − lr d,  x = y + (1 − 1/β₁)(z − y)
std::unique_ptr<Optimizer> make_schedule_free_adamw(const ScheduleFreeOptions& options,
                                                    const std::vector<UpdatedSlice>& slices);

}   // namespace trainer
