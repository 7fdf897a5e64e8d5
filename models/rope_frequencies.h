#pragma once

#include <vector>

#include "configs/node.h"

namespace trainer {

// Inverse frequencies of the rotary embedding, one per pair of dimensions, with the config's scaling applied
// (rope_type default, linear, llama3; transformers' modeling_rope_utils). `config` is the model's config.json;
// Error(bad_data) for a scaling that is not supported or lacks a key.
std::vector<float> rope_frequencies(const Node& config, int head_dim);

}   // namespace trainer
