#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/recipe.h"

namespace trainer {

// Writes the first `rows` rows of every training source to files in `folder`. Returns the overrides that make a recipe
// train on them: every step over all of them.
std::vector<std::string> sample_rows(const Recipe& recipe, std::int64_t rows, const std::filesystem::path& folder);

}   // namespace trainer
