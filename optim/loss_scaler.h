#pragma once

#include <cstdint>

#include "configs/fields.h"

namespace trainer {

// The factor on the loss's gradient that keeps gradients within f16, a power of two, by the rules of
// torch.amp.GradScaler with its defaults: half of it after a step whose gradient is not finite, twice as much after
// 2000 steps in a row with a finite one. Gradients are divided by it before anything is done with them.
struct LossScaler {
    static constexpr double first_scale = 65536;
    static constexpr std::int64_t growth_interval = 2000;

    double scale = first_scale;
    std::int64_t finite_steps = 0;   // in a row, since the scale changed

    // After a step; `finite`: the gradient, which was made with `scale`.
    void update(bool finite);
    // Whether a gradient that is not finite may become so with a smaller scale.
    bool can_help() const { return scale > 1; }

    template <typename Visitor>
    void fields(Visitor& field) {
        field("scale", scale, "the factor on the loss's gradient", above(0));
        field("finite_steps", finite_steps, "steps in a row with a finite gradient since it changed", at_least(0));
    }
};

}   // namespace trainer
