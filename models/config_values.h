#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "configs/node.h"

namespace trainer {

// Values of a model's config. Errors (bad_data) name the place of the value, which may be a file of the hub, a .gguf
// file, a recipe or the command line.

// "model/config.json:3:18" of the key's value; the place of the whole config, or "config.json", where that is unknown.
std::string place_of(const Node& config, std::string_view key);

// An integer from 1 to `most`.
std::int64_t positive(const Node& config, const char* key, std::int64_t most = std::numeric_limits<int>::max());
std::int64_t positive_or(const Node& config, const char* key, std::int64_t otherwise,
                         std::int64_t most = std::numeric_limits<int>::max());   // when absent or null

bool flag(const Node& config, const char* key, bool otherwise);

}   // namespace trainer
