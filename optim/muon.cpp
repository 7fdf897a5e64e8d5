#include "optim/muon.h"

#include <algorithm>
#include <cmath>

#include "autograd/cpu/gemm.h"
#include "optim/expression.h"
#include "optim/grain_sum.h"
#include "optim/matrix_steps.h"
#include "optim/muon_cuda.h"

namespace trainer {

namespace {

constexpr const char* momentum_name = "momentum_buffer";

void normalise(Cpu, const Tensor& x, const Tensor& /*sums*/, const Tensor& out) {
    const double norm = std::sqrt(sum_of_squares(x.data<float>(), x.elements()));
    const auto factor = static_cast<float>(1 / (norm + 1e-7));
    const auto* from = x.data<float>();
    auto* to = out.data<float>();
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < x.elements(); ++i) to[i] = factor * from[i];
}

// mix = a I + b A + c A², given A² in it
void mix_powers(Cpu, const Tensor& plain, const Tensor& mix) {
    const std::int64_t side = plain.rows();
    auto* mixed = mix.data<float>();
    const auto* power = plain.data<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < side; ++r)
        for (std::int64_t c = 0; c < side; ++c)
            mixed[r * side + c] = NewtonSchulz::mixed(power[r * side + c], mixed[r * side + c], r == c);
}

class Muon : public Optimizer {
public:
    Muon(const MuonOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices),
          options_(options),
          adamw_for_(compiled_expression(options.adamw_for, "optimizer.adamw_for")) {}

    std::vector<StateTensor> state_tensors(const Parameter& parameter) const override {
        if (is_orthogonalised(parameter)) return {{momentum_name}};
        return adamw_state();
    }

protected:
    bool by_element(const Parameter& parameter) const override { return !is_orthogonalised(parameter); }

    void update(const ParameterSlice& slice, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        if (is_orthogonalised(*slice.parameter)) {
            orthogonalised_update(*slice.parameter, value, gradient, state.at(momentum_name), update);
        } else {
            Update adamw = update;
            adamw.learning_rate *= options_.adamw_lr_ratio;
            adamw_update(options_.adamw, value, gradient, state, adamw);
        }
    }

private:
    bool is_orthogonalised(const Parameter& parameter) const {
        return parameter.shape.dimensions() == 2 && !std::regex_match(parameter.name, adamw_for_);
    }

    void orthogonalised_update(const Parameter& parameter, const Tensor& value, const Tensor& gradient,
                               const Tensor& momentum, const Update& update) const {
        const PurposeScope purpose(Purpose::workspace);
        const Shape shape = parameter.shape;
        const Place place = value.place();
        Tensor direction = Tensor::empty(shape, DType::f32, place);
        const MuonMomentum step{static_cast<float>(options_.momentum), static_cast<float>(1 - options_.momentum),
                                options_.nesterov, update.gradient_scale};
        on(place, [&](auto tag) { update_elements(tag, step, gradient, direction, {}, momentum); });
        const Tensor orthogonal = newton_schulz(direction, options_.iterations);
        const double tall = static_cast<double>(shape.rows()) / static_cast<double>(shape.columns());
        const Descent descent{static_cast<float>(1 - update.learning_rate * update.weight_decay),
                              static_cast<float>(update.learning_rate * std::sqrt(std::max(1.0, tall)))};
        on(place, [&](auto tag) { update_elements(tag, descent, orthogonal, value, {}); });
    }

    MuonOptions options_;
    std::regex adamw_for_;
};

}   // namespace

Tensor newton_schulz(const Tensor& x, std::int64_t iterations) {
    const Place place = x.place();
    const bool tall = x.rows() > x.columns();   // then A = Xᵀ X, the smaller of the two
    const std::int64_t side = std::min(x.rows(), x.columns());
    Tensor current = Tensor::empty(x.shape(), DType::f32, place);
    Tensor next = Tensor::empty(x.shape(), DType::f32, place);
    Tensor square = Tensor::empty(Shape(side, side), DType::f32, place);
    Tensor mix = Tensor::empty(Shape(side, side), DType::f32, place);
    {
        const Tensor sums = place.on_device() ? Tensor::empty(grains_in(x.elements()), DType::u64, place) : Tensor();
        on(place, [&](auto tag) { normalise(tag, x, sums, current); });
    }
    for (std::int64_t i = 0; i < iterations; ++i) {
        product(square, current, tall, current, !tall, false);
        product(mix, square, false, square, false, false);
        on(place, [&](auto tag) { mix_powers(tag, square, mix); });
        if (tall)
            product(next, current, false, mix, false, false);
        else
            product(next, mix, false, current, false, false);
        std::swap(current, next);
    }
    return current;
}

std::unique_ptr<Optimizer> make_muon(const MuonOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Muon>(options, slices);
}

}   // namespace trainer
