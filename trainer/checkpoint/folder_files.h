#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace trainer {

// What lies in a checkpoint's folder. Errors of the file system are Error(io) naming the path.

// Paths of everything but folders, at any depth, relative to `folder`, with / between, sorted. Links are not followed.
std::vector<std::string> files_under(const std::filesystem::path& folder);
// The folders, deepest first, without `folder` itself.
std::vector<std::string> folders_under(const std::filesystem::path& folder);

// What lies in the folder itself, folders too; names, sorted.
std::vector<std::string> names_in(const std::filesystem::path& folder);

// Bytes of a regular file; nothing for all else: missing, a link, a folder.
std::optional<std::uint64_t> regular_file_size(const std::filesystem::path& path);
// A folder itself, no link to one.
bool is_real_folder(const std::filesystem::path& path);

// Removes a file or a folder with all in it; nothing when it is not there.
void remove_tree(const std::filesystem::path& path);

}   // namespace trainer
