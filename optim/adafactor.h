#pragma once

#include <array>
#include <memory>
#include <optional>

#include "configs/fields.h"
#include "optim/optimizer.h"

namespace trainer {

struct AdafactorOptions {
    std::array<double, 2> eps{1e-30, 1e-3};
    double clip_threshold = 1.0;
    double decay_rate = -0.8;
    std::optional<double> beta1;
    bool scale_parameter = false;
    bool relative_step = false;
    bool warmup_init = false;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("eps", eps, "added to squares of gradients; the smallest size of a parameter (scale_parameter)",
              above(0));
        field("clip_threshold", clip_threshold, "largest root mean square of an update before the learning rate",
              above(0));
        field("decay_rate", decay_rate, "the second mean decays by 1 - t^decay_rate at step t", below(0));
        field("beta1", beta1, "decay of a running mean of updates; null: no such mean, no state for it", at_least(0),
              below(1));
        field("scale_parameter", scale_parameter, "multiply the rate by the root mean square of the parameter");
        field("relative_step", relative_step,
              "multiply lr, which is then 1 for the published rule, by 1/sqrt(t), at most 0.01");
        field("warmup_init", warmup_init, "with relative_step: at most 1e-6 t instead");
    }
};

// Adafactor (Shazeer and Stern, 2018) as transformers computes it. Of a matrix only the means of the rows and columns
// of g² are kept. With ρ the learning rate as the options make it:
//   r, c ← running means of the rows and columns of g² + eps₁
//   u = g / √(r cᵀ / mean(r)),  u ← u / max(1, rms(u) / clip_threshold),  p ← p (1 − wd·ρ) − ρ u
// Vectors keep a running mean of g² itself.
std::unique_ptr<Optimizer> make_adafactor(const AdafactorOptions& options, const std::vector<UpdatedSlice>& slices);

}   // namespace trainer
