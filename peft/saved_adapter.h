#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "hub/adapter.h"
#include "models/causal_lm.h"
#include "peft/method.h"

namespace trainer {

// An adapter read from a PEFT folder onto a model: attach before the model's prepare, read after it.
class SavedAdapter {
public:
    // Errors of AdapterFile; Error(bad_data) when a module is not in the model or has another shape, or when the
    // adapter uses what is not supported.
    explicit SavedAdapter(const std::filesystem::path& folder);

    void attach(Declarations& model);
    void read();
    const std::vector<std::string>& notes() const { return file_.notes(); }   // unknown keys of its config

private:
    std::string folder_;
    AdapterFile file_;
    std::unique_ptr<PeftMethod> method_;
};

}   // namespace trainer
