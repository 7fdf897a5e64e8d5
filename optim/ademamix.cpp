#include "optim/ademamix.h"

#include <algorithm>
#include <cmath>

#include "optim/ademamix_step.h"

namespace trainer {

namespace {

class Ademamix : public Optimizer {
public:
    Ademamix(const AdemamixOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter&) const override {
        return {{"exp_avg"}, {"exp_avg_slow"}, {"exp_avg_sq"}};
    }

protected:
    void update(const ParameterSlice&, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        on(value.place(), [&](auto place) {
            update_elements(place, AdemamixStep(options_, update), gradient, value, update.rounding,
                            state.at("exp_avg"), state.at("exp_avg_slow"), state.at("exp_avg_sq"));
        });
    }

private:
    AdemamixOptions options_;
};

double share(std::int64_t update, std::int64_t warmup) {
    return static_cast<double>(update) / static_cast<double>(warmup);
}

}   // namespace

double ademamix_alpha(const AdemamixOptions& options, std::int64_t update) {
    if (!options.alpha_warmup) return options.alpha;
    return options.alpha * std::min(1.0, share(update, *options.alpha_warmup));
}

double ademamix_beta3(const AdemamixOptions& options, std::int64_t update) {
    const double beta3 = options.betas[2];
    if (!options.beta3_warmup || update >= *options.beta3_warmup) return beta3;
    const double done = share(update, *options.beta3_warmup);
    const double first = std::log(options.betas[0]);
    const double last = std::log(beta3);
    return std::min(beta3, std::exp(first * last / ((1 - done) * last + done * first)));
}

AdemamixStep::AdemamixStep(const AdemamixOptions& options, const Update& update)
    : keep(static_cast<float>(1 - update.learning_rate * update.weight_decay)),
      rate(static_cast<float>(update.learning_rate)),
      take1(static_cast<float>(1 - options.betas[0])),
      beta2(static_cast<float>(options.betas[1])),
      take2(static_cast<float>(1 - options.betas[1])),
      take3(static_cast<float>(1 - ademamix_beta3(options, update.step))),
      alpha(static_cast<float>(ademamix_alpha(options, update.step))),
      eps(static_cast<float>(options.eps)),
      gradient_scale(update.gradient_scale) {
    const auto t = static_cast<double>(update.step);
    correction = static_cast<float>(1 / (1 - std::pow(options.betas[0], t)));
    root_correction = static_cast<float>(std::sqrt(1 - std::pow(options.betas[1], t)));
}

std::unique_ptr<Optimizer> make_ademamix(const AdemamixOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Ademamix>(options, slices);
}

}   // namespace trainer
