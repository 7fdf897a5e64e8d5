#include "optim/loss_scaler.h"

#include <cmath>

namespace trainer {

void LossScaler::update(bool finite) {
    if (!finite) {
        scale = static_cast<double>(static_cast<float>(scale) * 0.5f);
        finite_steps = 0;
        return;
    }
    if (++finite_steps < growth_interval) return;
    finite_steps = 0;
    const float doubled = static_cast<float>(scale) * 2.0f;   // f32, as there
    if (std::isfinite(doubled)) scale = static_cast<double>(doubled);
}

}   // namespace trainer
