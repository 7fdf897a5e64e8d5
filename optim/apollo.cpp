#include "optim/apollo.h"

#include <algorithm>
#include <cmath>

#include "autograd/cpu/gemm.h"
#include "autograd/random.h"
#include "optim/adamw.h"
#include "optim/apollo_cuda.h"
#include "optim/expression.h"
#include "optim/grain_sum.h"
#include "optim/matrix_steps.h"

namespace trainer {

namespace {

constexpr const char* mean_name = "exp_avg";
constexpr const char* square_name = "exp_avg_sq";
constexpr const char* norm_name = "update_norm";   // of the update before, 0 for none
constexpr std::int64_t lanes = 64;                 // columns that one thread sums

bool is_wide(const Shape& shape) { return shape.rows() < shape.columns(); }
std::int64_t long_side(const Shape& shape) { return std::max(shape.rows(), shape.columns()); }
std::int64_t rank_of(const ApolloOptions& options, const Shape& shape) {
    return std::min({options.rank, shape.rows(), shape.columns()});
}

// The norm of each row of a (rows, columns) matrix, or of each column, summed in double.
void channel_norms(Cpu, const Tensor& matrix, bool of_columns, std::vector<double>& norms) {
    const std::int64_t rows = matrix.rows(), columns = matrix.columns();
    const auto* values = matrix.data<float>();
    const auto squared = [values](std::int64_t i) {
        return static_cast<double>(values[i]) * static_cast<double>(values[i]);
    };
    norms.assign(static_cast<std::size_t>(of_columns ? columns : rows), 0);
    if (of_columns) {
#pragma omp parallel for schedule(static)
        for (std::int64_t begin = 0; begin < columns; begin += lanes)
            for (std::int64_t r = 0; r < rows; ++r)
                for (std::int64_t c = begin; c < std::min(columns, begin + lanes); ++c)
                    norms[static_cast<std::size_t>(c)] += squared(r * columns + c);
    } else {
#pragma omp parallel for schedule(static)
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = 0; c < columns; ++c) norms[static_cast<std::size_t>(r)] += squared(r * columns + c);
    }
    for (double& one : norms) one = std::sqrt(one);
}

// Factors of the rows or columns of the gradient, or one for all.
void scale(const std::vector<double>& above, const std::vector<double>& below, bool of_rows, const Tensor& gradient) {
    constexpr double least = 1e-8;
    std::vector<float> factors;
    for (std::size_t i = 0; i < above.size(); ++i) factors.push_back(static_cast<float>(above[i] / (below[i] + least)));
    auto* g = gradient.data<float>();
    const std::int64_t columns = gradient.columns();
    const bool one = factors.size() == 1;
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < gradient.rows(); ++r)
        for (std::int64_t c = 0; c < columns; ++c)
            g[r * columns + c] *= factors[one ? 0 : static_cast<std::size_t>(of_rows ? r : c)];
}

void scale_channels(Cpu cpu, const Tensor& normed, const Tensor& projected, bool of_rows, const Tensor& /*factors*/,
                    const Tensor& gradient) {
    std::vector<double> above, below;
    channel_norms(cpu, normed, !of_rows, above);
    channel_norms(cpu, projected, !of_rows, below);
    scale(above, below, of_rows, gradient);
}

double norm(const Tensor& values) { return std::sqrt(sum_of_squares(values.data<float>(), values.elements())); }

void scale_matrix(Cpu, const Tensor& normed, const Tensor& projected, const Tensor& /*sums*/, const Tensor& /*factor*/,
                  const Tensor& gradient) {
    scale({norm(normed)}, {norm(projected)}, true, gradient);
}

void limit_growth(Cpu, float growth, const Tensor& /*sums*/, const Tensor& /*limiter*/, const Tensor& norm_before,
                  const Tensor& update) {
    auto* u = update.data<float>();
    float& before = *norm_before.data<float>();
    auto now = static_cast<float>(norm(update));
    if (before > 0) {
        const float limiter = std::max(now / (before + 1e-8f), growth) / growth;
#pragma omp parallel for simd schedule(static)
        for (std::int64_t i = 0; i < update.elements(); ++i) u[i] /= limiter;
        now /= limiter;
    }
    before = now;
}

void draw_normal(Cpu, std::uint64_t key, float deviation, const Tensor& out) {
    auto* to = out.data<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < out.elements(); i += 4) {
        const auto block = static_cast<std::uint64_t>(i / 4);
        const std::array<float, 4> drawn =
            normal(philox(key, {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), 0, 0}));
        for (std::int64_t j = i; j < std::min(i + 4, out.elements()); ++j)
            to[j] = deviation * drawn[static_cast<std::size_t>(j - i)];
    }
}

class Apollo : public Optimizer {
public:
    Apollo(const ApolloOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices),
          options_(options),
          adamw_{options.betas, options.eps},
          adamw_for_(compiled_expression(options.adamw_for, "optimizer.adamw_for")) {}

    std::vector<StateTensor> state_tensors(const Parameter& parameter) const override {
        if (!is_projected(parameter)) return adamw_state();
        const std::int64_t elements = rank_of(options_, parameter.shape) * long_side(parameter.shape);
        std::vector<StateTensor> tensors = {{mean_name, DType::f32, 0, elements},
                                            {square_name, DType::f32, 0, elements}};
        if (options_.largest_growth > 0) tensors.push_back({norm_name, DType::f32, 0, 1});
        return tensors;
    }

protected:
    bool by_element(const Parameter& parameter) const override { return !is_projected(parameter); }

    void update(const ParameterSlice& slice, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        if (is_projected(*slice.parameter))
            projected_update(*slice.parameter, value, gradient, state, update);
        else
            adamw_update(adamw_, value, gradient, state, update);
    }

private:
    bool is_projected(const Parameter& parameter) const {
        return parameter.shape.dimensions() == 2 && !std::regex_match(parameter.name, adamw_for_);
    }

    // The projection in use at an update. It is drawn anew when a run is resumed.
    const Tensor& projection(const Parameter& parameter, std::int64_t step) const {
        const std::int64_t renewal = (step - 1) / options_.renew_every;
        Projection& held = projections_[&parameter];
        if (!held.values.defined() || held.renewal != renewal) {
            const PurposeScope purpose(Purpose::optimizer);
            held.values = Tensor();
            held = {renewal, apollo_projection(options_, parameter, seed(), renewal)};
        }
        return held.values;
    }

    void projected_update(const Parameter& parameter, const Tensor& value, const Tensor& gradient, State& state,
                          const Update& update) const {
        const Tensor& p = projection(parameter, update.step);
        const PurposeScope purpose(Purpose::workspace);
        const Shape& shape = parameter.shape;
        const bool wide = is_wide(shape);
        const std::int64_t rank = rank_of(options_, shape);
        const Shape low = wide ? Shape(rank, shape.columns()) : Shape(shape.rows(), rank);
        const Place place = value.place();
        Tensor given = Tensor::empty(shape, DType::f32, place);
        Tensor projected = Tensor::empty(low, DType::f32, place);
        Tensor normed = Tensor::empty(low, DType::f32, place);
        on(place, [&](auto tag) { update_elements(tag, TakeGradient{update.gradient_scale}, gradient, given, {}); });
        if (wide)
            product(projected, p, true, given, false, false);
        else
            product(projected, given, false, p, true, false);
        const ApolloMeans means{static_cast<float>(options_.betas[0]), static_cast<float>(1 - options_.betas[0]),
                                static_cast<float>(options_.betas[1]), static_cast<float>(1 - options_.betas[1]),
                                static_cast<float>(options_.eps)};
        on(place, [&](auto tag) {
            update_elements(tag, means, projected, normed, {}, state.at(mean_name), state.at(square_name));
        });
        scale_gradient(projected, normed, wide, given);
        if (options_.largest_growth > 0) {
            const Tensor sums = room(grains_in(given.elements()), DType::u64, place);
            const Tensor limiter = room(1, DType::f32, place);
            const auto growth = static_cast<float>(options_.largest_growth);
            on(place, [&](auto tag) { limit_growth(tag, growth, sums, limiter, state.at(norm_name), given); });
        }
        const auto t = static_cast<double>(update.step);
        const double correction = std::sqrt(1 - std::pow(options_.betas[1], t)) / (1 - std::pow(options_.betas[0], t));
        const Descent descent{static_cast<float>(1 - update.learning_rate * update.weight_decay),
                              static_cast<float>(update.learning_rate * correction * std::sqrt(options_.scale))};
        on(place, [&](auto tag) { update_elements(tag, descent, given, value, {}); });
    }

    // What a GPU needs beside the matrices.
    static Tensor room(std::int64_t elements, DType dtype, Place place) {
        return place.on_device() ? Tensor::empty(elements, dtype, place) : Tensor();
    }

    // G ← G ‖N‖ / ‖R‖
    void scale_gradient(const Tensor& projected, const Tensor& normed, bool wide, const Tensor& gradient) const {
        const Place place = gradient.place();
        if (options_.scaling == ApolloScaling::channel) {
            const Tensor factors = room(wide ? normed.columns() : normed.rows(), DType::f32, place);
            on(place, [&](auto tag) { scale_channels(tag, normed, projected, !wide, factors, gradient); });
        } else {
            const Tensor sums = room(2 * grains_in(normed.elements()), DType::u64, place);
            const Tensor factor = room(1, DType::f32, place);
            on(place, [&](auto tag) { scale_matrix(tag, normed, projected, sums, factor, gradient); });
        }
    }

    struct Projection {
        std::int64_t renewal = 0;
        Tensor values;
    };

    ApolloOptions options_;
    AdamWOptions adamw_;
    std::regex adamw_for_;
    mutable std::map<const Parameter*, Projection> projections_;
};

}   // namespace

Tensor apollo_projection(const ApolloOptions& options, const Parameter& parameter, std::uint64_t seed,
                         std::int64_t renewal) {
    const std::int64_t rank = rank_of(options, parameter.shape);
    const std::int64_t side = std::min(parameter.shape.rows(), parameter.shape.columns());
    Tensor out = Tensor::empty(is_wide(parameter.shape) ? Shape(side, rank) : Shape(rank, side), DType::f32,
                               parameter.value.place());
    const std::uint64_t key = random_key(seed, site_key(parameter.name, "apollo_projection"), renewal);
    const auto deviation = static_cast<float>(1 / std::sqrt(static_cast<double>(rank)));
    on(out.place(), [&](auto place) { draw_normal(place, key, deviation, out); });
    return out;
}

std::unique_ptr<Optimizer> make_apollo(const ApolloOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Apollo>(options, slices);
}

std::unique_ptr<Optimizer> make_apollo_mini(const ApolloMiniOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Apollo>(options, slices);
}

}   // namespace trainer
