#pragma once

#include <map>
#include <string>

#include "trainer/inputs.h"
#include "trainer/training_state.h"

namespace trainer {

// receipt.json of a finished run: what its result was made from (identity, trainer/identity.h), with the resolved
// recipe and the digests of the files that were written. Its presence says that the run is finished.
std::string receipt_text(const Inputs& inputs, const std::map<std::string, std::string>& identity,
                         const std::filesystem::path& written, const TrainingState& state);

inline constexpr const char* receipt_name = "receipt.json";

}   // namespace trainer
