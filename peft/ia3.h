#pragma once

#include <memory>

#include "peft/method.h"

namespace trainer {

// IA3 (Liu et al., 2022): one trained factor for each output of a layer, y ← l ⊙ (W x + b), or, for the modules listed
// under `feedforward`, for each input, y = W (l ⊙ x) + b. Factors start at one.
std::unique_ptr<PeftMethod> make_ia3(const AdapterOptions& options);

}   // namespace trainer
