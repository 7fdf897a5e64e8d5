#pragma once

// A checkpoint of a few hundred bytes whose content follows from its step.

#include <filesystem>
#include <functional>
#include <string>

#include "configs/error.h"
#include "trainer/checkpoint/manifest.h"

namespace trainer::test {

inline constexpr const char* small_run_id = "0123456789abcdef";

// Writes files of every kind into a staged folder and returns the manifest to commit: config.json, an empty file, one
// in a subfolder, and model.safetensors, written by three writers by ranges.
Manifest fill_small_checkpoint(const std::filesystem::path& folder, std::int64_t step);
// Stages, fills and commits `checkpoint-<step>`.
void save_small_checkpoint(const std::filesystem::path& run_folder, std::int64_t step,
                           const std::string& run_id = small_run_id);
// Whether the folder holds exactly what `fill_small_checkpoint` makes for that step.
bool holds_small_checkpoint(const std::filesystem::path& folder, std::int64_t step);

// The error that the work throws; Error(done, "no error") when it throws none.
Error error_of(const std::function<void()>& work);

}   // namespace trainer::test
