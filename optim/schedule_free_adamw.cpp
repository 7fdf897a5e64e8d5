#include "optim/schedule_free_adamw.h"

#include <algorithm>
#include <cmath>

#include "configs/error.h"
#include "optim/schedule_free_step.h"

namespace trainer {

namespace {

class ScheduleFreeAdamW : public Optimizer {
public:
    ScheduleFreeAdamW(const ScheduleFreeOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter&) const override { return {{"exp_avg_sq"}, {"z"}}; }

    std::vector<double> numbers() const override { return {highest_rate_, weights_}; }
    void set_numbers(const std::vector<double>& numbers) override {
        require(numbers.size() == 2, Exit::bad_checkpoint, "optimizer_numbers: {} numbers, expected 2", numbers.size());
        highest_rate_ = numbers[0];
        weights_ = numbers[1];
    }

    bool has_evaluation_values() const override { return true; }

protected:
    // Rates of groups are multiples of one another, so that their shares of the average are the same.
    void prepare_step(double learning_rate) override {
        highest_rate_ = std::max(highest_rate_, learning_rate);
        const double weight =
            std::pow(static_cast<double>(steps()), options_.step_power) * std::pow(highest_rate_, options_.lr_power);
        weights_ += weight;
        average_ = weights_ > 0 ? weight / weights_ : 0;
    }

    void update(const ParameterSlice&, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        const auto [beta1, beta2] = options_.betas;
        const ScheduleFreeStep step{
            static_cast<float>(beta2),
            static_cast<float>(1 - beta2),
            static_cast<float>(std::sqrt(1 - std::pow(beta2, static_cast<double>(update.step)))),
            static_cast<float>(options_.eps),
            static_cast<float>(update.weight_decay),
            static_cast<float>(average_),
            static_cast<float>(update.learning_rate * (beta1 * (1 - average_) - 1)),
            static_cast<float>(update.learning_rate),
            update.gradient_scale};
        on(value.place(), [&](auto place) {
            update_elements(place, step, gradient, value, update.rounding, state.at("z"), state.at("exp_avg_sq"));
        });
    }

    void initialise(const ParameterSlice& slice, State& state) const override { copy(slice.value(), state.at("z")); }

    void to_evaluation_value(const Tensor& value, const State& state) const override {
        const TowardsAverage step{static_cast<float>(1 - 1 / options_.betas[0])};
        on(value.place(), [&](auto place) { update_elements(place, step, state.at("z"), value, {}); });
    }

private:
    ScheduleFreeOptions options_;
    double highest_rate_ = 0;
    double weights_ = 0;   // of all steps
    double average_ = 0;   // the share of this step in the average
};

}   // namespace

std::unique_ptr<Optimizer> make_schedule_free_adamw(const ScheduleFreeOptions& options,
                                                    const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<ScheduleFreeAdamW>(options, slices);
}

}   // namespace trainer
