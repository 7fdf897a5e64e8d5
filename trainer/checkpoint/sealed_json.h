#pragma once

#include <string>
#include <string_view>

#include "configs/node.h"

namespace trainer {

// A JSON document of several lines that carries its own digest: the last key, "digest", is the SHA-256 of all bytes
// before that key's line.
std::string sealed_json(Node map);

// Whether a text ends in the digest of what stands before it.
bool seal_holds(std::string_view text);

}   // namespace trainer
