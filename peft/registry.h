#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "configs/registry.h"
#include "peft/method.h"

namespace trainer {

struct PeftMethodEntry {
    std::unique_ptr<PeftMethod> (*make)(const AdapterOptions& options);
    std::vector<std::string_view> keys;   // of AdapterOptions: those it reads beside those that all read
    std::string_view explanation;         // for `trainer list methods --explain`

    bool reads(std::string_view key) const;
};

const Registry<PeftMethodEntry>& peft_methods();

}   // namespace trainer
