#pragma once

#include <string>
#include <vector>

#include "configs/node.h"
#include "hub/adapter.h"

namespace trainer {

// From the value of an adapter_config.json; `where` names it in messages. Keys with no effect here are left out; keys
// nobody knows are noted. Error(bad_data) for another PEFT type and for options that would change the result and are
// not supported.
AdapterConfig parse_adapter_config(const Node& document, const std::string& where, std::vector<std::string>& notes);

}   // namespace trainer
