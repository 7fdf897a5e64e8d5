#pragma once

#include <array>
#include <memory>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

struct LionOptions {
    std::array<double, 2> betas{0.9, 0.99};

    template <typename Visitor>
    void fields(Visitor& field) {
        field("betas", betas, "share of the running mean in the direction, and its decay", at_least(0), below(1));
    }
};

// Lion (Chen et al., "Symbolic discovery of optimization algorithms", 2023):
//   p ← p (1 − lr·wd) − lr · sign(β₁ m + (1 − β₁) g),  m ← β₂ m + (1 − β₂) g
std::unique_ptr<Optimizer> make_lion(const LionOptions& options, const std::vector<UpdatedSlice>& slices);

}   // namespace trainer
