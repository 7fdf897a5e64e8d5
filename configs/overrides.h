#pragma once

#include <string>
#include <vector>

#include "configs/error.h"
#include "configs/node.h"

namespace trainer {

// Applies words of the command line, in order, to a document: `a.b=value` sets key b of the map a. The value is YAML.
// Missing maps are made; a number is an index where the path meets a list (the list's size appends). Values carry the
// mark "command line: a.b=value". Returns what is wrong (Exit::usage); such words change nothing.
std::vector<Error> apply_overrides(Node& document, const std::vector<std::string>& words);

}   // namespace trainer
