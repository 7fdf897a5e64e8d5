#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "peft/method.h"

namespace trainer {

// LoHa (Hyeon-Woo et al., 2022): W + s (w1_a w1_b) ⊙ (w2_a w2_b), s = α/r: an update of rank r² from two of rank r. All
// begin Kaiming-uniform with a = √5 but w2_b, which is zero.
std::unique_ptr<PeftMethod> make_loha(const AdapterOptions& options);

// LoKr (Yeh et al., 2024): W + s (w1 ⊗ w2). Both sides of W are split in two (split_dimension), the first parts are
// those of w1. w2 is the product of two matrices of rank r when that is less than half of its larger side; w1 too when
// the options decompose both. w1 begins at zero, or its first factor does; all else Kaiming-uniform with a = √5.
std::unique_ptr<PeftMethod> make_lokr(const AdapterOptions& options);

// Two numbers whose product is `size`: `factor` and then the rest, though it be smaller, when it divides `size`; else
// the pair of the smallest sum, the smaller first and not above `factor`; factor −1 has no bound. As LyCORIS and PEFT
// choose them.
std::pair<std::int64_t, std::int64_t> split_dimension(std::int64_t size, std::int64_t factor);

}   // namespace trainer
