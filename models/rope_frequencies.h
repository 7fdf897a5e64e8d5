#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "configs/node.h"

namespace trainer {

// The keys of a config.json that `rope_frequencies` reads, beside max_position_embeddings.
inline constexpr std::array<std::string_view, 4> rope_config_keys = {"rope_theta", "rope_scaling", "rope_parameters",
                                                                     "original_max_position_embeddings"};

// Inverse frequencies of the rotary embedding, one per pair of dimensions, with the config's scaling applied
// (rope_type default, linear, llama3; transformers' modeling_rope_utils). `config` is the model's config.json;
// Error(bad_data) for a scaling that is not supported or lacks a key.
std::vector<float> rope_frequencies(const Node& config, int head_dim);

}   // namespace trainer
