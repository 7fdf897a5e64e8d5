#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>

#include "autograd/parameter.h"
#include "models/context.h"
#include "models/scope.h"

namespace trainer {

// y += scale · dropout(x) Aᵀ Bᵀ, with A (r, in) and B (out, r).
struct LowRank {
    Parameter* a;
    Parameter* b;
    float scale;
    float dropout;
    std::uint64_t site;   // random site of the dropout mask
};

// Any other change of a linear layer: receives its input and output, returns the new output.
struct General {
    std::function<Tensor(const Tensor& x, const Tensor& y, const ForwardContext& context)> apply;
};

using AdapterForm = std::variant<LowRank, General>;

// What sits in the adapter slot of a Linear (peft/). The form is asked for by LinearGroup::prepare.
class Adapter {
public:
    virtual ~Adapter() = default;
    virtual AdapterForm form() const = 0;
    virtual void prepare(Place place) = 0;   // allocates its parameters
};

// One linear layer of the model under its hub name: weight (out, in), optional bias (out), and the adapter slot.
// It computes as a member of a LinearGroup.
class Linear {
public:
    Linear(const Scope& scope, std::int64_t in, std::int64_t out, bool with_bias)
        : name(scope.path()), in_features(in), out_features(out), weight(&scope.parameter("weight", Shape(out, in))) {
        if (with_bias) {
            bias = &scope.parameter("bias", Shape(out));
            bias->decay = false;
        }
        scope.declarations().linears.push_back(this);
    }
    Linear(const Linear&) = delete;
    Linear& operator=(const Linear&) = delete;

    const std::string name;
    const std::int64_t in_features;
    const std::int64_t out_features;
    Parameter* const weight;
    Parameter* bias = nullptr;
    std::unique_ptr<Adapter> adapter;
};

}   // namespace trainer
