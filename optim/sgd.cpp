#include "optim/sgd.h"

#include "optim/sgd_step.h"

namespace trainer {

namespace {

class Sgd : public Optimizer {
public:
    Sgd(const SgdOptions& options, const std::vector<UpdatedSlice>& slices) : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter&) const override {
        if (options_.momentum == 0) return {};
        return {{"momentum_buffer"}};
    }

protected:
    void update(const ParameterSlice&, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        const SgdStep step{static_cast<float>(update.learning_rate), static_cast<float>(update.weight_decay),
                           static_cast<float>(options_.momentum), options_.nesterov, update.gradient_scale};
        on(value.place(), [&](auto place) {
            if (options_.momentum == 0)
                update_elements(place, step, gradient, value, update.rounding);
            else
                update_elements(place, step, gradient, value, update.rounding, state.at("momentum_buffer"));
        });
    }

private:
    SgdOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_sgd(const SgdOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Sgd>(options, slices);
}

}   // namespace trainer
