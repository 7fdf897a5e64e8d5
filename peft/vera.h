#pragma once

#include <memory>

#include "peft/method.h"

namespace trainer {

// VeRA (Kopiczko et al., 2024): y += b ⊙ B (d ⊙ A x) with random matrices A and B that all layers share, of which each
// takes the first columns and rows, and that are saved but never trained; b, from zero, and d, from `d_initial`, are.
std::unique_ptr<PeftMethod> make_vera(const AdapterOptions& options);

}   // namespace trainer
