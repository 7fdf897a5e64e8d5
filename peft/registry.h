#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "configs/registry.h"
#include "peft/method.h"

namespace trainer {

struct PeftMethodEntry {
    std::unique_ptr<PeftMethod> (*make)(const AdapterOptions& options);
    std::vector<std::string_view> unused;   // keys of AdapterOptions that it does not read
    std::string_view explanation;           // for `trainer list methods --explain`
};

const Registry<PeftMethodEntry>& peft_methods();

}   // namespace trainer
