#pragma once

#include <memory>

#include "configs/node.h"
#include "models/causal_lm.h"

namespace trainer {

// Llama 2/3, SmolLM2 and everything else with `model_type: llama`: RMSNorm, RoPE, grouped heads, SwiGLU, tied or
// untied head. `config` is the value of config.json; Error(bad_data) for what is missing or not supported.
std::unique_ptr<CausalLm> make_llama(const Node& config);

}   // namespace trainer
