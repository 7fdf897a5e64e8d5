#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "hub/adapter.h"
#include "models/causal_lm.h"
#include "peft/options.h"

namespace trainer {

// An adapter method on a model. Life: attach (before prepare), model.prepare, loading of the base, initialise.
class PeftMethod {
public:
    virtual ~PeftMethod() = default;
    // Declares its parameters, under the names PEFT saves them by, and fills the adapter slots; everything else of the
    // model is frozen.
    virtual void attach(Declarations& model) = 0;
    // Fresh values, each keyed by (seed, parameter name): independent of other targets, steps and data.
    virtual void initialise(std::uint64_t seed) = 0;

    // What is trained, in the order of declaration.
    virtual const std::vector<Parameter*>& parameters() const = 0;
    // What belongs to the adapter and is saved with it, but not trained.
    virtual std::vector<Parameter*> frozen() const { return {}; }
    // The adapter as PEFT opens it: its configuration without the base's name, and its tensors. `values` gives the f32
    // numbers of a parameter that is trained, which must outlive the result.
    virtual AdapterConfig config() const = 0;
    virtual std::vector<AdapterTensor> tensors(const std::function<const float*(const Parameter&)>& values) const;
};

}   // namespace trainer
