#pragma once

#include <cstdint>

#include "data/batch.h"
#include "models/causal_lm.h"

namespace trainer {

// Sums of one leaf, one f32 element each. They add up over leaves; whoever shows them divides by the count of the
// objective's unit.
struct LeafSums {
    Tensor loss;      // the one that is recorded
    Tensor correct;   // targets predicted best
    Tensor entropy;
};

// What is minimised. It returns a sum over its unit; the step plan knows the unit's global count of the step and seeds
// the backward pass with one over it.
class Objective {
public:
    virtual ~Objective() = default;
    virtual std::int64_t count(const Batch& batch) const = 0;   // units of this leaf
    virtual LeafSums forward(const CausalLm& model, const Batch& batch, const ForwardContext& context) const = 0;
};

}   // namespace trainer
