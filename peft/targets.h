#pragma once

#include <string>
#include <vector>

#include "models/linear.h"
#include "peft/options.h"

namespace trainer {

// The linear layers a method adapts, in the model's order, by PEFT's rules: `all-linear` is every Linear but lm_head;
// a list holds names that equal a module's path or a suffix of it after a dot; any other string is a regular
// expression that must match the whole path. Error(bad_recipe) with the nearest names when an entry matches nothing.
std::vector<Linear*> select_targets(const std::vector<Linear*>& linears, const TargetOption& targets);

// What adapter_config.json lists for such a choice: for all-linear the last path components, sorted.
std::vector<std::string> target_suffixes(const std::vector<Linear*>& selected);

}   // namespace trainer
