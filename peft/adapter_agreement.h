#pragma once

#include <string>

#include "hub/adapter.h"
#include "models/causal_lm.h"

namespace trainer {

// An adapter's two files must be of one adapter. PEFT leaves out tensors of modules that the configuration does not
// choose, and lets the chosen ones without tensors begin anew; here both are Error(bad_data) with their names. A
// regular expression that only Python reads is not judged. `folder` is what messages call the adapter.

// The modules that have tensors are chosen by the configuration.
void check_modules_are_chosen(const AdapterFile& file, const std::string& folder);

// The modules of the model that the configuration chooses have tensors.
void check_chosen_are_there(const AdapterFile& file, const std::string& folder, const Declarations& model);

}   // namespace trainer
