#pragma once

#include <memory>

#include "configs/node.h"
#include "configs/registry.h"
#include "models/causal_lm.h"

namespace trainer {

using MakeCausalLm = std::unique_ptr<CausalLm> (*)(const Node& config);

// Architectures by config.json's model_type.
const Registry<MakeCausalLm>& causal_lms();

// The model a config.json describes; Error(bad_data) when its model_type is missing or not supported.
std::unique_ptr<CausalLm> make_causal_lm(const Node& config);

}   // namespace trainer
