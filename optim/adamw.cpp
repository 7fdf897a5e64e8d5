#include "optim/adamw.h"

#include <cmath>

namespace trainer {

namespace {

void update_elements(Cpu, const AdamWConstants& step, const float* gradient, float* value, float* mean, float* square,
                     std::int64_t elements) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < elements; ++i) {
        const float g = gradient ? gradient[i] * step.gradient_scale : 0.0f;
        mean[i] += step.take1 * (g - mean[i]);
        square[i] = step.beta2 * square[i] + step.take2 * g * g;
        const float denominator = std::sqrt(square[i]) / step.root_correction + step.eps;
        value[i] = value[i] * step.keep - step.step_size * mean[i] / denominator;
    }
}

class AdamW : public Optimizer {
public:
    AdamW(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter&) const override { return adamw_state(); }

protected:
    void update(const ParameterSlice&, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        adamw_update(options_, value, gradient, state, update);
    }

private:
    AdamWOptions options_;
};

}   // namespace

AdamWConstants::AdamWConstants(const AdamWOptions& options, const Update& update)
    : keep(static_cast<float>(1 - update.learning_rate * update.weight_decay)),
      take1(static_cast<float>(1 - options.betas[0])),
      beta2(static_cast<float>(options.betas[1])),
      take2(static_cast<float>(1 - options.betas[1])),
      eps(static_cast<float>(options.eps)),
      gradient_scale(update.gradient_scale) {
    const auto t = static_cast<double>(update.step);
    step_size = static_cast<float>(update.learning_rate / (1 - std::pow(options.betas[0], t)));
    root_correction = static_cast<float>(std::sqrt(1 - std::pow(options.betas[1], t)));
}

std::vector<StateTensor> adamw_state() { return {{"exp_avg"}, {"exp_avg_sq"}}; }

void adamw_update(const AdamWOptions& options, const Tensor& value, const Tensor& gradient, Optimizer::State& state,
                  const Update& update) {
    on(value.place(), [&](Cpu cpu) {
        update_elements(cpu, {options, update}, values_of_gradient(gradient), value.data<float>(),
                        state.at("exp_avg").data<float>(), state.at("exp_avg_sq").data<float>(), value.elements());
    });
}

std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<AdamW>(options, slices);
}

}   // namespace trainer
