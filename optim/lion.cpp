#include "optim/lion.h"

namespace trainer {

namespace {

struct LionStep {
    float keep;   // 1 − lr·wd
    float rate;
    float beta1;
    float take1;   // 1 − β₁
    float beta2;
    float take2;
    float gradient_scale;
};

void update_elements(Cpu, const LionStep& step, const float* gradient, float* value, float* mean,
                     std::int64_t elements) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < elements; ++i) {
        const float g = gradient ? gradient[i] * step.gradient_scale : 0.0f;
        const float direction = step.beta1 * mean[i] + step.take1 * g;
        const float sign = direction > 0 ? 1.0f : direction < 0 ? -1.0f : 0.0f;
        value[i] = value[i] * step.keep - step.rate * sign;
        mean[i] = step.beta2 * mean[i] + step.take2 * g;
    }
}

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
        on(value.place(), [&](Cpu cpu) {
            update_elements(cpu, step, values_of_gradient(gradient), value.data<float>(),
                            state.at("exp_avg").data<float>(), value.elements());
        });
    }

private:
    LionOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_lion(const LionOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Lion>(options, slices);
}

}   // namespace trainer
