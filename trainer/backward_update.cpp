#include "trainer/backward_update.h"

#include <cmath>
#include <utility>

#include "configs/error.h"
#include "optim/clip.h"

namespace trainer {

BackwardUpdate::BackwardUpdate(std::vector<std::vector<Parameter*>> units, Optimizer& optimizer, double learning_rate)
    : units_(std::move(units)), squares_(units_.size()), optimizer_(optimizer), learning_rate_(learning_rate) {
    std::size_t slices = 0;
    for (const auto& unit : units_) {
        first_slice_.push_back(slices);
        slices += unit.size();
    }
    check(slices == optimizer.slices().size(), "in_backward: {} parameters, {} slices", slices,
          optimizer.slices().size());
}

void BackwardUpdate::unit_done(std::size_t unit) {
    std::vector<ParameterSlice> slices;
    std::vector<Tensor> gradients;
    for (Parameter* parameter : units_[unit]) {
        slices.push_back(optimizer_.slices()[first_slice_[unit] + slices.size()]);
        gradients.push_back(slices.back().gradient());
        parameter->gradient = Tensor();
    }
    squares_[unit] = squares_of(slices, gradients);
    apply_ = apply_ && std::isfinite(norm_of(squares_[unit]));
    for (std::size_t i = 0; apply_ && i < gradients.size(); ++i) {
        if (!begun_) optimizer_.begin_step(learning_rate_);
        begun_ = true;
        optimizer_.update_slice(first_slice_[unit] + i, gradients[i], 1.0f);
        gradients[i] = Tensor();
        units_[unit][i]->changed();
    }
}

double BackwardUpdate::norm() const {
    std::vector<double> all;
    for (const auto& unit : squares_) all.insert(all.end(), unit.begin(), unit.end());
    return norm_of(all);
}

}   // namespace trainer
