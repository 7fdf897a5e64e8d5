#pragma once

#include <memory>

#include "configs/registry.h"
#include "peft/method.h"

namespace trainer {

using MakePeftMethod = std::unique_ptr<PeftMethod> (*)(const LoraOptions& options);

const Registry<MakePeftMethod>& peft_methods();

}   // namespace trainer
