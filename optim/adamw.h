#pragma once

#include <memory>

#include "optim/optimizer.h"
#include "optim/options.h"

namespace trainer {

// AdamW as torch computes it (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019):
//   p ← p (1 − lr·wd)                     for parameters with `decay`
//   m ← m + (1 − β₁)(g − m),  v ← β₂ v + (1 − β₂) g²
//   p ← p − lr/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + eps)
std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, std::vector<ParameterSlice> slices);

}   // namespace trainer
