#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configs/node.h"
#include "configs/registry.h"
#include "models/causal_lm.h"

namespace trainer {

struct Architecture {
    std::unique_ptr<CausalLm> (*make)(const Node& config);
    std::vector<std::string> (*config_keys)();   // all that `make` reads
};

// Architectures by config.json's model_type.
const Registry<Architecture>& causal_lms();

// The model a config.json describes; Error(bad_data) when its model_type is missing or not supported.
std::unique_ptr<CausalLm> make_causal_lm(const Node& config);

}   // namespace trainer
