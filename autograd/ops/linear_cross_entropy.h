#pragma once

#include "autograd/ops/linear.h"
#include "autograd/tensor.h"

namespace trainer {

inline constexpr std::int32_t ignored_target = -100;

// Sums over the trained tokens, one f32 element each.
struct CrossEntropySums {
    Tensor loss;      // Σ -log softmax(logits)[target]; the one that is recorded
    Tensor correct;   // tokens whose largest logit is the target's (the lowest index wins ties)
    Tensor entropy;   // Σ entropy of softmax(logits), in nats
};

// logits = hidden (N, C) · Wᵀ for the tokens whose target (N, i32) is not ignored_target, in chunks of rows: the
// logits (V columns, f32) of one chunk only exist at a time. Gradients are computed in the forward pass when something
// asks for them, so that logits are made once; backward multiplies them by the seed.
// head.weight is W (V, C); head.dense[0].weight receives the gradient when trainable. Adapters on the head
// (head.low_rank) and replaced rows take part. `chunk_rows` 0 chooses by V.
CrossEntropySums linear_cross_entropy(const Tensor& hidden, const LinearTerms& head, const Tensor& targets,
                                      const Layout& layout, bool training, std::int64_t chunk_rows = 0);

}   // namespace trainer
