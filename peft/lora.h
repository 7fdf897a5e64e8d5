#pragma once

#include <memory>

#include "peft/method.h"

namespace trainer {

// LoRA (Hu et al., 2021): y += α/r · dropout(x) Aᵀ Bᵀ. A starts Kaiming-uniform with a = √5, that is
// U(−1/√in, 1/√in); B starts at zero.
std::unique_ptr<PeftMethod> make_lora(const LoraOptions& options);

}   // namespace trainer
