#pragma once

#include <filesystem>

#include "trainer/verify/comparison.h"

namespace trainer {

// Compares the files beside a receipt (`file`, or the folder it lies in) with its digests, and program, libraries,
// recipe, base model and data of this machine with those of the run. The failure names the files that differ
// (bad_checkpoint); differences of the environment are told in the tables only. Errors: those of read_receipt.
Verdict check_receipt(const std::filesystem::path& file);

}   // namespace trainer
