#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "autograd/ops/linear.h"
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
    // y −= scale · x A₀ᵀ B₀ᵀ: what the adapter began as, when that was not zero; or null.
    Parameter* initial_a = nullptr;
    Parameter* initial_b = nullptr;
};

// The layer receives another input.
struct InputTransform {
    std::function<Tensor(const Tensor& x, const ForwardContext& context)> apply;
};

// y ← y ⊙ scale, one factor for each output, bias included.
struct OutputScale {
    Parameter* scale;
};

// Any other change: receives the input and the terms of the layer without its adapter, returns the output.
struct General {
    std::function<Tensor(const Tensor& x, const LinearTerms& bare, const ForwardContext& context)> apply;
};

using AdapterForm = std::variant<LowRank, InputTransform, OutputScale, General>;

// What sits in an adapter slot of a Linear (peft/). The form is asked for by LinearGroup::prepare. Several act
// together: inputs are changed one after the other, low-rank updates add up, outputs are scaled one after the other; a
// General one must be alone.
class Adapter {
public:
    virtual ~Adapter() = default;
    virtual AdapterForm form() const = 0;
    virtual void prepare(Place place) = 0;   // allocates its parameters
    // Changes the layer's own weight (out, in) and bias (out), f32 on the CPU, so that the layer alone does what it
    // does with this adapter.
    virtual void merge_weight(Tensor& weight) const = 0;
    virtual void merge_bias(Tensor&) const {}
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
    std::vector<std::unique_ptr<Adapter>> adapters;
    std::optional<ReplacedRows> replaced_rows;   // of an output layer, alone in its group and without adapters
    std::unique_ptr<Weight> rows;   // its rows of the group's weight, without adapters; there after the group's prepare
};

}   // namespace trainer
