#pragma once

#include <cstdint>

#include "autograd/cpu/isa.h"
#include "autograd/dtype.h"

namespace trainer {

// Of one row of logits l with maximum m.
struct SoftmaxRow {
    float largest;         // m
    float target;          // l of the target
    double sum;            // Σ e^(l - m)
    double weighted_sum;   // Σ e^(l - m) (l - m)
    bool correct;          // no other logit is larger, none before the target is as large
};

// With `gradient` not null (`count` elements of `type`, may be `logits` itself when that is f32) it becomes
// softmax(l) - onehot(target); the logits are then used up.
TRAINER_VARIANTS(SoftmaxRow softmax_row(float* logits, std::int64_t count, std::int32_t target, void* gradient,
                                        DType type))

}   // namespace trainer
