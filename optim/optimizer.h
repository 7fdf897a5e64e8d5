#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autograd/offload.h"
#include "comm/parameter_slice.h"
#include "optim/elements.h"

namespace trainer {

// A state tensor of a parameter.
struct StateTensor {
    std::string name;   // "exp_avg", …
    DType dtype = DType::f32;
    // Elements of the parameter for each of its own, a divisor of ShardLayout::grain_elements, so that a slice has a
    // slice of it. 0: `elements` that belong to the parameter as a whole; such a rule gets whole parameters only.
    std::int64_t grain = 1;
    std::int64_t elements = 0;

    // Which of its elements go with a slice.
    std::int64_t begin(const ParameterSlice& slice) const { return grain == 0 ? 0 : slice.begin / grain; }
    std::int64_t end(const ParameterSlice& slice) const {
        return grain == 0 ? elements : (slice.end + grain - 1) / grain;
    }
};

// A slice with what the recipe says of its parameter.
struct UpdatedSlice {
    ParameterSlice slice;
    double rate = 1;   // times the learning rate
    double weight_decay = 0;
};

// One update of one slice.
struct Update {
    double learning_rate = 0;   // of this parameter at this moment
    double weight_decay = 0;
    float gradient_scale = 1;   // the clip coefficient over the loss scale
    std::int64_t step = 1;      // counted from 1
    Rounding rounding;          // of values that are not f32
};

// An update rule over slices of trainable parameters: owns the state and the step count. Masters are the parameters'
// own values. Rules compute in f32; values kept in bf16 are widened for an update, a piece at a time where the rule
// can, and its result is rounded stochastically (optim/stochastic_rounding.h). The kernels of a GPU do both themselves
// where the rule can work on pieces.
class Optimizer {
public:
    // A slice's state tensors by name, one-dimensional.
    using State = std::map<std::string, Tensor>;

    explicit Optimizer(const std::vector<UpdatedSlice>& slices);
    virtual ~Optimizer() = default;

    // Of the noise that rounds, and of what else a rule draws.
    void set_seed(std::uint64_t seed) { seed_ = seed; }

    // Allocates the state at the parameters' place and sets it to where it begins, which may depend on the values. With
    // a store it waits there, and only the slice that is worked on is in memory.
    void prepare(OffloadStore* store = nullptr);

    // One update of every slice with its gradient (f32, one-dimensional; undefined for zero) times `gradient_scale`
    // (the clip coefficient over the loss scale). Gradients are left as they are. Parameter::changed is the caller's.
    void step(const std::vector<Tensor>& gradients, double learning_rate, float gradient_scale);
    // The same in parts: `begin_step`, then every slice once, in any order.
    void begin_step(double learning_rate);
    void update_slice(std::size_t slice, const Tensor& gradient, float gradient_scale);

    std::int64_t steps() const { return steps_; }
    void set_steps(std::int64_t steps) { steps_ = steps; }   // when resuming
    const std::vector<ParameterSlice>& slices() const { return slices_; }
    // Calls `work` with a slice's state in memory, to be read and, when resuming, filled.
    enum class Access { read, change };
    void with_state(std::size_t slice, Access access, const std::function<void(State&)>& work);
    State& state(std::size_t slice) { return state_[slice]; }   // where there is no store
    OffloadStore* store() const { return store_; }
    virtual std::vector<StateTensor> state_tensors(const Parameter& parameter) const = 0;

    // Numbers that the rule keeps beside the tensors; to be saved and, when resuming, given back.
    virtual std::vector<double> numbers() const { return {}; }
    virtual void set_numbers(const std::vector<double>&) {}

    // Whether the model is to be evaluated and saved at other values than those it is trained at.
    virtual bool has_evaluation_values() const { return false; }
    // Writes those into the slices. The values from before are the caller's to keep and to give back.
    void to_evaluation_values();

protected:
    std::uint64_t seed() const { return seed_; }
    // Before the slices of a step.
    virtual void prepare_step(double /*learning_rate*/) {}
    // `value` ← update. It holds the slice's values, one-dimensional, in f32; on a device as they are stored where
    // `by_element`.
    virtual void update(const ParameterSlice& slice, const Tensor& value, const Tensor& gradient, State& state,
                        const Update& update) const = 0;
    // Slices whose updates a device does with few kernels, each as `update` would; none otherwise.
    struct Together {
        Tensor value;
        Tensor gradient;
        State* state;
        Update how;
    };
    virtual bool updates_together() const { return false; }
    virtual void update_together(const std::vector<Together>&) const {}
    // Whether an update of the parameter's element needs no other's value, gradient or state but those of its state's
    // grain.
    virtual bool by_element(const Parameter&) const { return true; }
    // Where state begins that does not begin at zero.
    virtual void initialise(const ParameterSlice&, State&) const {}
    virtual void to_evaluation_value(const Tensor& /*value*/, const State&) const {}   // as in `update`

private:
    Update how_to_update(std::size_t slice, float gradient_scale) const;
    // Calls compute(part, value, begin, state) for parts of the slice in f32, `begin` counted from its beginning, and
    // stores what it left in `value` by store(part, value, stored).
    template <typename Compute, typename Store>
    void in_pieces(std::size_t slice, State& state, const Compute& compute, const Store& store);

    std::vector<ParameterSlice> slices_;
    std::vector<UpdatedSlice> updated_;
    std::vector<State> state_;
    OffloadStore* store_ = nullptr;
    std::vector<std::map<std::string, std::unique_ptr<Offloaded>>> waiting_;   // by slice, with a store
    std::int64_t steps_ = 0;
    double learning_rate_ = 0;   // of the step under way
    std::uint64_t seed_ = 0;
};

// The gradient of a slice in its place's memory, null for zero.
inline const float* values_of_gradient(const Tensor& gradient) {
    return gradient.defined() ? gradient.data<float>() : nullptr;
}

}   // namespace trainer
