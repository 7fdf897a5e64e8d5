#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configs/node.h"
#include "models/causal_lm.h"

namespace trainer {

// Llama 2/3, SmolLM2 and everything else with `model_type: llama`: RMSNorm, RoPE, grouped heads, SwiGLU, tied or
// untied head. `config` is the value of config.json; Error(bad_data) for what is missing or not supported.
std::unique_ptr<CausalLm> make_llama(const Node& config);

// Every key of config.json that it reads.
std::vector<std::string> llama_config_keys();

}   // namespace trainer
