#pragma once

#include <string>

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

}   // namespace trainer
