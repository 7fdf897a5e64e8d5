#pragma once

#include <functional>
#include <string>
#include <vector>

#include "hub/adapter.h"
#include "peft/options.h"
#include "peft/targets.h"

namespace trainer {

// What PEFT's adapter_config.json says of such options, without the base's name: `all-linear` is written out as the
// names it selected.
AdapterConfig adapter_config(const AdapterOptions& options, const Selection& selected);

// The other way: the options that such an adapter was trained with. How it was initialised is not known any more.
AdapterOptions adapter_options(const AdapterConfig& config);

// The name in peft/registry.cpp of the method that such an adapter is of.
std::string adapter_method(const AdapterConfig& config);

// Takes away the patterns that give nothing to any of the modules, which PEFT does not mind, and returns them.
std::vector<std::string> drop_idle_patterns(AdapterOptions& options, const std::vector<std::string>& modules);

// Runs what may refuse an option (Error(bad_recipe) that begins with "peft." and its key). Where the options come from
// an adapter, that is a mistake of its file: Error(bad_data) with the file and the file's own key.
void with_options_of(const std::string& folder, const std::function<void()>& run);

}   // namespace trainer
