#pragma once

#include <memory>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

struct SgdOptions {
    double momentum = 0.9;
    bool nesterov = false;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("momentum", momentum, "decay of the running sum of gradients; 0: no such sum, no state", at_least(0),
              below(1));
        field("nesterov", nesterov, "look ahead along the momentum");
    }
};

// Stochastic gradient descent as torch computes it; weight decay is added to the gradient:
//   g ← g + wd·p,  b ← μ b + g,  p ← p − lr·b, with nesterov p ← p − lr (g + μ b)
std::unique_ptr<Optimizer> make_sgd(const SgdOptions& options, const std::vector<UpdatedSlice>& slices);

}   // namespace trainer
