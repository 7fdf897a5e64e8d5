#include "optim/adamw.h"

#include <cmath>

namespace trainer {

namespace {

struct AdamWStep {
    float keep;    // 1 − lr·wd
    float take1;   // 1 − β₁, rounded once: 1.0f − 0.999f is off by 1e-5
    float beta2;
    float take2;             // 1 − β₂
    float step_size;         // lr / (1 − β₁ᵗ)
    float root_correction;   // √(1 − β₂ᵗ)
    float eps;
    float gradient_scale;
};

void adamw_update(Cpu, const AdamWStep& step, const float* gradient, float* value, float* mean, float* square,
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
    AdamW(const AdamWOptions& options, std::vector<ParameterSlice> slices)
        : Optimizer(std::move(slices)), options_(options) {}

    std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

protected:
    void update(const ParameterSlice& slice, const Tensor& gradient, State& state, float learning_rate,
                float gradient_scale, std::int64_t step) const override {
        const double beta1 = options_.betas[0];
        const double beta2 = options_.betas[1];
        const double decay = slice.parameter->decay ? options_.weight_decay : 0.0;
        const auto t = static_cast<double>(step);
        const AdamWStep constants{static_cast<float>(1 - learning_rate * decay),
                                  static_cast<float>(1 - beta1),
                                  static_cast<float>(beta2),
                                  static_cast<float>(1 - beta2),
                                  static_cast<float>(learning_rate / (1 - std::pow(beta1, t))),
                                  static_cast<float>(std::sqrt(1 - std::pow(beta2, t))),
                                  static_cast<float>(options_.eps),
                                  gradient_scale};
        const Tensor value = slice.value();
        on(value.place(), [&](Cpu cpu) {
            adamw_update(cpu, constants, gradient.defined() ? gradient.data<float>() : nullptr, value.data<float>(),
                         state.at("exp_avg").data<float>(), state.at("exp_avg_sq").data<float>(), slice.elements());
        });
    }

private:
    AdamWOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, std::vector<ParameterSlice> slices) {
    return std::make_unique<AdamW>(options, std::move(slices));
}

}   // namespace trainer
