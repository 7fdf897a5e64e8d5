#include "optim/sgd.h"

namespace trainer {

namespace {

struct SgdStep {
    float rate;
    float decay;
    float momentum;
    bool nesterov;
    float gradient_scale;
};

void update_elements(Cpu, const SgdStep& step, const float* gradient, float* value, float* sum, std::int64_t elements) {
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < elements; ++i) {
        const float g = (gradient ? gradient[i] * step.gradient_scale : 0.0f) + step.decay * value[i];
        float direction = g;
        if (sum) {
            sum[i] = step.momentum * sum[i] + g;
            direction = step.nesterov ? g + step.momentum * sum[i] : sum[i];
        }
        value[i] -= step.rate * direction;
    }
}

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
        on(value.place(), [&](Cpu cpu) {
            float* sum = options_.momentum == 0 ? nullptr : state.at("momentum_buffer").data<float>();
            update_elements(cpu, step, values_of_gradient(gradient), value.data<float>(), sum, value.elements());
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
