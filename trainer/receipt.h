#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trainer/inputs.h"
#include "trainer/training_state.h"

namespace trainer {

// receipt.json of a finished run: what its result was made from and what came of it. Its presence says that the run is
// finished.
struct Receipt {
    std::string trainer_version;
    std::int64_t steps = 0;
    std::map<std::string, std::string> identity;    // trainer/identity.h
    std::map<std::string, std::string> libraries;   // by what they do, with version
    std::map<std::string, std::string> files;       // SHA-256 by path beside the receipt
    Node recipe;                                    // resolved
};

inline constexpr const char* receipt_name = "receipt.json";

// What computes, reads and was compiled with what.
std::map<std::string, std::string> library_versions();

// Lists the files in `written`, which will lie beside the receipt, and those that the run keeps in its folder itself
// (recipe and metrics). The text carries its own digest.
std::string receipt_text(const Inputs& inputs, const std::map<std::string, std::string>& identity,
                         const std::filesystem::path& written, const TrainingState& state);

// Errors: no_input when the file is missing; bad_data when it is no receipt; bad_checkpoint when it was changed after
// it was written.
Receipt read_receipt(const std::filesystem::path& file);

// A file that a receipt lists, as it is now.
struct ListedFile {
    std::string name;
    std::string expected;   // SHA-256
    std::string found;      // "" when there is no such file
};

// Reads all files that the receipt of `folder` lists.
std::vector<ListedFile> files_of(const Receipt& receipt, const std::filesystem::path& folder);

}   // namespace trainer
