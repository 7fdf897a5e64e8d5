#pragma once

#include <memory>
#include <string>
#include <vector>

#include "peft/saved_adapter.h"

namespace trainer {

struct NamedAdapter {
    std::string name;
    std::string folder;
};

// Saved adapters that act on a model together, none of them trained.
class FrozenAdapters {
public:
    // Errors of SavedAdapter.
    explicit FrozenAdapters(const std::vector<NamedAdapter>& adapters);

    // Errors of SavedAdapter, and bad_data when they cannot act together (check_together).
    void attach(Declarations& model);
    void initialise();

    std::vector<std::string> notes() const;
    std::vector<AdapterConfig> configs() const;
    const std::vector<std::string>& names() const { return names_; }

private:
    std::vector<std::string> names_;
    std::vector<std::unique_ptr<SavedAdapter>> adapters_;
};

// Error(code) beginning with `where` when adapters so configured cannot act at once, by PEFT's rules: they are of one
// type, and of several none trains biases; nor is one of several a DoRA, whose norms are those of one adapter alone.
void check_together(const std::vector<std::string>& names, const std::vector<AdapterConfig>& configs, Exit code,
                    const std::string& where);

// A method whose adapter is trained while saved ones act, frozen, with it. Its attach has the Errors of FrozenAdapters,
// and bad_recipe when they cannot act with the trained one.
std::unique_ptr<PeftMethod> beside_others(std::unique_ptr<PeftMethod> trained, const std::string& name,
                                          const std::vector<NamedAdapter>& others);

}   // namespace trainer
