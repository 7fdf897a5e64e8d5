#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "configs/node.h"

namespace trainer {

// Calls `row(value, line)` for every line of a JSON-lines file that is not blank, in order. A leading byte order mark
// is skipped. A line that is no JSON object or no UTF-8 goes to `bad(error, line)` instead. Both say whether to read
// on. Errors of InputFile (configs/file.h).
void read_jsonl(const std::filesystem::path& path, const std::function<bool(Node&& value, std::int64_t line)>& row,
                const std::function<bool(const class Error& error, std::int64_t line)>& bad);

}   // namespace trainer
