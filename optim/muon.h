#pragma once

#include <array>
#include <memory>
#include <string>

#include "optim/adamw.h"

namespace trainer {

struct MuonOptions {
    double momentum = 0.95;
    bool nesterov = true;
    std::int64_t iterations = 5;
    double adamw_lr_ratio = 0.015;
    std::string adamw_for = R"(.*(embed|lm_head|wte|wpe).*)";
    AdamWOptions adamw{{0.9, 0.95}, 1e-10};

    template <typename Visitor>
    void fields(Visitor& field) {
        field("momentum", momentum, "decay of the running mean of gradients", at_least(0), below(1));
        field("nesterov", nesterov, "look ahead along the momentum");
        field("iterations", iterations, "Newton-Schulz iterations that make an update orthogonal", between(1, 100));
        field("adamw_lr_ratio", adamw_lr_ratio, "learning rate of what AdamW updates, as a share of lr", above(0));
        field("adamw_for", adamw_for,
              "regular expression of the matrices that AdamW updates, as it does all that is no matrix");
        adamw.fields(field);
    }
};

// Muon (Jordan et al., 2024) for matrices, AdamW for the rest:
//   m ← m + (1 − μ)(g − m),  u = g + μ (m − g) with nesterov, else m
//   o = newton_schulz(u) · √max(1, rows / columns),  p ← p (1 − lr·wd) − lr·o
std::unique_ptr<Optimizer> make_muon(const MuonOptions& options, const std::vector<UpdatedSlice>& slices);

// Moves the singular values of x (f32) towards 1 by iterations of X ← a X + (b A + c A²) X with A = X Xᵀ and (a, b, c)
// = (3.4445, −4.7750, 2.0315), from X = x / ‖x‖.
Tensor newton_schulz(const Tensor& x, std::int64_t iterations);

}   // namespace trainer
