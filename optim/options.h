#pragma once

#include <array>

#include "configs/fields.h"

namespace trainer {

struct AdamWOptions {
    double lr = 2e-4;
    double weight_decay = 0.0;
    std::array<double, 2> betas{0.9, 0.999};
    double eps = 1e-8;

    template <typename Visitor>
    void fields(Visitor& field) {
        field("lr", lr, "learning rate at its highest, after warm-up", above(0));
        field("weight_decay", weight_decay, "decay per step and learning rate; biases and norms are not decayed",
              at_least(0));
        field("betas", betas, "decay of the running means of the gradient and of its square", at_least(0), below(1));
        field("eps", eps, "added to the root of the second mean", above(0));
        field.later("master", "trainable weights have f32 masters");
        field.later("state", "the optimizer's state is f32");
    }
};

}   // namespace trainer
