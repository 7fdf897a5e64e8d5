#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "peft/method.h"

namespace trainer {

// LoRA (Hu et al., 2021): y += α/r · dropout(x) Aᵀ Bᵀ. A starts Kaiming-uniform with a = √5, that is
// U(−1/√in, 1/√in); B starts at zero. On an embedding A starts at zero and B normal, as in PEFT.
//
// With `init` pissa or olora A and B start at parts A₀, B₀ of the weight W. The base is left as it is: the layer
// computes W x + s (B A − B₀ A₀) x, which is PEFT's residual weight W − s B₀ A₀ with its adapter, and starts as W
// exactly up to rounding. It is saved as the plain LoRA of twice the rank that this is.
std::unique_ptr<PeftMethod> make_lora(const AdapterOptions& options);

// Other names for one option of LoRA each: rsLoRA (Kalajdzievski, 2023), DoRA, PiSSA, OLoRA.
std::unique_ptr<PeftMethod> make_rslora(const AdapterOptions& options);
std::unique_ptr<PeftMethod> make_dora(const AdapterOptions& options);
std::unique_ptr<PeftMethod> make_pissa(const AdapterOptions& options);
std::unique_ptr<PeftMethod> make_olora(const AdapterOptions& options);

// What a module's B A is multiplied by: α/r, with rslora α/√r.
double low_rank_scale(const AdapterOptions& options, const std::string& module, std::int64_t rank);

}   // namespace trainer
