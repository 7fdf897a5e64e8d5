#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/parameter_slice.h"

namespace trainer {

// An update rule over slices of trainable parameters: owns the state and the step count. Masters are the parameters'
// own f32 values.
class Optimizer {
public:
    // A state tensor by name ("exp_avg", …): f32, one-dimensional, as long as its slice.
    using State = std::map<std::string, Tensor>;

    explicit Optimizer(std::vector<ParameterSlice> slices) : slices_(std::move(slices)) {}
    virtual ~Optimizer() = default;

    // Allocates the state, zero, at the parameters' place.
    void prepare();

    // One update of every slice with its gradient (f32, one-dimensional; undefined for zero) times `gradient_scale`
    // (the clip coefficient). Gradients are left as they are. Parameter::changed is the caller's.
    void step(const std::vector<Tensor>& gradients, float learning_rate, float gradient_scale);

    std::int64_t steps() const { return steps_; }
    void set_steps(std::int64_t steps) { steps_ = steps; }   // when resuming
    const std::vector<ParameterSlice>& slices() const { return slices_; }
    State& state(std::size_t slice) { return state_[slice]; }   // to be read and, when resuming, filled
    virtual std::vector<std::string> state_names() const = 0;

protected:
    // The slice's value ← update. Steps are counted from 1.
    virtual void update(const ParameterSlice& slice, const Tensor& gradient, State& state, float learning_rate,
                        float gradient_scale, std::int64_t step) const = 0;

private:
    std::vector<ParameterSlice> slices_;
    std::vector<State> state_;
    std::int64_t steps_ = 0;
};

}   // namespace trainer
