#include "optim/adamw.h"

#include <cmath>
#include <type_traits>

namespace trainer {

namespace {

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

    bool updates_together() const override { return true; }
    void update_together(const std::vector<Together>& slices) const override {
        std::vector<ElementsUpdate<AdamWConstants, 2>> updates;
        for (const auto& [value, gradient, state, how] : slices)
            updates.push_back({AdamWConstants(options_, how),
                               gradient,
                               value,
                               how.rounding,
                               {state->at("exp_avg"), state->at("exp_avg_sq")}});
        on(slices.front().value.place(), [&](auto place) {
            if constexpr (std::is_same_v<decltype(place), Cuda>) update_elements(place, updates);
        });
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
    on(value.place(), [&](auto place) {
        update_elements(place, AdamWConstants(options, update), gradient, value, update.rounding, state.at("exp_avg"),
                        state.at("exp_avg_sq"));
    });
}

std::unique_ptr<Optimizer> make_adamw(const AdamWOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<AdamW>(options, slices);
}

}   // namespace trainer
