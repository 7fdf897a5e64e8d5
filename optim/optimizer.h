#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autograd/parameter.h"

namespace trainer {

// An update rule over a set of trainable parameters: owns the state (by parameter name) and the step count. Masters
// are the parameters' own f32 values.
class Optimizer {
public:
    explicit Optimizer(std::vector<Parameter*> parameters) : parameters_(std::move(parameters)) {}
    virtual ~Optimizer() = default;

    // Allocates the state, zero, at the parameters' place.
    void prepare();

    // One update of every parameter with its `gradient` times `gradient_scale` (the clip coefficient); a parameter
    // without gradient counts as having a zero one. Gradients are left as they are.
    void step(float learning_rate, float gradient_scale);

    std::int64_t steps() const { return steps_; }
    // State tensors of a parameter by name ("exp_avg", …), f32, in its shape.
    const std::map<std::string, Tensor>& state(const Parameter& parameter) const { return state_.at(parameter.name); }

protected:
    virtual std::vector<std::string> state_names() const = 0;
    // p ← update; `gradient` is undefined for a zero gradient. Steps are counted from 1.
    virtual void update(Parameter& parameter, const Tensor& gradient, std::map<std::string, Tensor>& state,
                        float learning_rate, float gradient_scale, std::int64_t step) const = 0;

private:
    std::vector<Parameter*> parameters_;
    std::map<std::string, std::map<std::string, Tensor>> state_;
    std::int64_t steps_ = 0;
};

}   // namespace trainer
