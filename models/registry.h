#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configs/node.h"
#include "models/causal_lm.h"

namespace trainer {

struct ModelFamily {
    const char* model_type;   // config.json's
    const char* help;
    std::unique_ptr<CausalLm> (*make)(const Node& config);
};

const std::vector<ModelFamily>& model_families();

// The model a config.json describes; Error(bad_data) when its model_type is not supported.
std::unique_ptr<CausalLm> make_causal_lm(const Node& config);

}   // namespace trainer
