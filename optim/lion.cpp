#include "optim/lion.h"

#include "optim/lion_step.h"

namespace trainer {

namespace {

class Lion : public Optimizer {
public:
    Lion(const LionOptions& options, const std::vector<UpdatedSlice>& slices) : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter&) const override { return {{"exp_avg"}}; }

protected:
    void update(const ParameterSlice&, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        const auto [beta1, beta2] = options_.betas;
        const LionStep step{static_cast<float>(1 - update.learning_rate * update.weight_decay),
                            static_cast<float>(update.learning_rate),
                            static_cast<float>(beta1),
                            static_cast<float>(1 - beta1),
                            static_cast<float>(beta2),
                            static_cast<float>(1 - beta2),
                            update.gradient_scale};
        on(value.place(),
           [&](auto place) { update_elements(place, step, gradient, value, update.rounding, state.at("exp_avg")); });
    }

private:
    LionOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_lion(const LionOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Lion>(options, slices);
}

}   // namespace trainer
