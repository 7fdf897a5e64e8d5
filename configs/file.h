#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace trainer {

// The bytes of a regular file. Error(no_input) when it is missing or a folder, Error(io) when it cannot be read,
// Error(bad_data) when it holds more than `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = SIZE_MAX);

}   // namespace trainer
