#pragma once

#include <vector>

#include "autograd/parameter.h"

namespace trainer {

// LoRA+ (Hayou et al., 2024) as PEFT groups it: every lora_B and everything of one dimension learns `ratio` times as
// fast.
inline void scale_learning_rates(const std::vector<Parameter*>& trained, double ratio) {
    for (Parameter* parameter : trained)
        if (parameter->name.ends_with(".lora_B.weight") || parameter->shape.dimensions() == 1)
            parameter->lr_scale = static_cast<float>(ratio);
}

}   // namespace trainer
