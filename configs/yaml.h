#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "configs/node.h"

namespace trainer {

// One YAML 1.2 document as plain data. Every value and every key carries its place. Plain scalars follow the core
// schema: 1e-5, .5, 0x1F and 0o17 are numbers, 012 is twelve, yes/no/on/off are strings; quoted scalars are strings.
// Refused with one Error(bad_recipe) "name:line:column: …": duplicate keys, anchors, aliases, tags, merge keys, keys
// that are no scalars, several documents, text that is not UTF-8, nesting beyond 64, and more than 1 MiB.
// An empty document is null.
Node parse_yaml(std::string_view text, const std::string& name);

// The same for a file; Error(no_input) when it is missing, Error(io) when it cannot be read.
Node read_yaml(const std::filesystem::path& path);

// Block style, two spaces a level, lists of scalars in one line; ends with a newline. parse_yaml gives an equal node
// back for every node whose strings are valid UTF-8 without control characters other than those JSON can escape.
std::string to_yaml(const Node& node);

}   // namespace trainer
