#pragma once

#include <string>

#include "configs/node.h"

namespace trainer {

// What a plain scalar means in the core schema of YAML 1.2.2 (section 10.3.2): null, a boolean, a number or a string.
Node yaml_scalar(const std::string& text);

}   // namespace trainer
