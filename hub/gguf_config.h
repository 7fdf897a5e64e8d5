#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "configs/node.h"
#include "hub/gguf.h"

namespace trainer {

// What a GGUF file of architecture `llama` says, in the terms of a hub model repository.

// config.json (v4 and v5 spellings), from metadata and tensor table. Error(bad_data) when the architecture is not
// supported, a key is missing or of the wrong type, or the rope scaling cannot be expressed.
Node gguf_config(const GgufFile& file);

// generation_config.json: bos, eos (a list when there are several), pad.
Node gguf_generation_config(const GgufFile& file);

// "model.layers.3.self_attn.q_proj.weight" ↔ "blk.3.attn_q.weight"; nothing when there is no counterpart.
std::optional<std::string> gguf_name(std::string_view hub_name);
std::optional<std::string> hub_name(std::string_view gguf_name);

// GGUF stores the rows of q and k in interleaved rotary order. In a head of `head_size` rows, hub row b·(d/2) + j is
// GGUF row 2j + b. Takes a hub row, gives the GGUF row.
std::int64_t gguf_rotary_row(std::int64_t hub_row, std::int64_t head_size);

// Whether the rows of this hub tensor are in rotary order in GGUF (q_proj and k_proj, weight and bias).
bool has_rotary_rows(std::string_view hub_name);

}   // namespace trainer
