#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/causal_lm.h"
#include "peft/options.h"

namespace trainer {

// One adapted layer of a low-rank method: A (rank, in), B (out, rank), both f32.
struct AdaptedModule {
    std::string name;   // "model.layers.0.self_attn.q_proj"
    Parameter* a;
    Parameter* b;
};

// An adapter method on a model. Life: attach (before prepare), model.prepare, loading, initialise or reading.
class PeftMethod {
public:
    virtual ~PeftMethod() = default;
    // Declares its parameters and fills the adapter slots; everything else of the model is frozen.
    virtual void attach(Declarations& model) = 0;
    // Fresh values, each keyed by (seed, parameter name): independent of other targets, steps and data.
    virtual void initialise(std::uint64_t seed) = 0;
    virtual const std::vector<AdaptedModule>& modules() const = 0;
};

}   // namespace trainer
