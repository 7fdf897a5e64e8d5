#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "configs/node.h"

namespace trainer {

// Strict JSON (RFC 8259): UTF-8 is checked, duplicate keys at any level, trailing text and nesting beyond 256 are
// refused. Numbers without fraction and exponent that fit in 64 bits are integers, all others doubles.
// `name` is what messages call the document; `first_line` is the line number of its first line (for JSONL rows).
// Throws Error(bad_data) "name:line:column: …".
Node parse_json(std::string_view text, const std::string& name, int first_line = 1);

// The same for a file; Error(no_input) when it is missing, Error(io) when it cannot be read.
Node read_json(const std::filesystem::path& path);

// How Python's json.dumps spells the same options.
struct JsonStyle {
    int indent = -1;             // -1: one line with ", " and ": "; else newline + this many spaces a level
    bool ensure_ascii = false;   // non-ASCII as \uXXXX
    bool sort_keys = false;
    bool compact = false;              // "," and ":" (separators=(",", ":"))
    bool null_for_nonfinite = false;   // else NaN, Infinity, -Infinity as Python writes them
};

// Byte-equal to json.dumps with these options.
std::string to_json(const Node& node, const JsonStyle& style = {});

// A double as Python's repr: shortest text that reads back, "1.0", "1e-05", "1e+16", "nan", "inf".
std::string python_float(double value);

}   // namespace trainer
