#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include "optim/adafactor_cuda.h"
#include "optim/grain_sum.h"
#include "optim/matrix_steps.h"

namespace trainer {

namespace {

constexpr const char* rows_name = "exp_avg_sq_row";
constexpr const char* columns_name = "exp_avg_sq_col";
constexpr const char* squares_name = "exp_avg_sq";
constexpr const char* mean_name = "exp_avg";

bool is_matrix(const Parameter& parameter) { return parameter.shape.dimensions() == 2; }

// A gradient with its scale; zeros when there is none.
struct Gradient {
    const float* values;
    float scale;
    float operator[](std::int64_t i) const { return values ? values[i] * scale : 0.0f; }
};

void fold_squares(Cpu, const AdafactorMeans& means, const Tensor& given, float gradient_scale, const Shape& shape,
                  const Tensor& rows_of_state, const Tensor& columns_of_state) {
    const Gradient gradient{values_of_gradient(given), gradient_scale};
    auto* row_means = rows_of_state.data<float>();
    auto* column_means = columns_of_state.data<float>();
    const std::int64_t rows = shape.rows();
    const std::int64_t columns = shape.columns();
    const auto square = [&](std::int64_t i) {
        const auto g = static_cast<double>(gradient[i]);
        return g * g + means.eps;
    };
    const auto fold = [&means](float& mean, double sum, std::int64_t count) {
        mean = static_cast<float>(means.beta * static_cast<double>(mean) +
                                  (1 - means.beta) * sum / static_cast<double>(count));
    };
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r) {
        double sum = 0;
        for (std::int64_t c = 0; c < columns; ++c) sum += square(r * columns + c);
        fold(row_means[r], sum, columns);
    }
    constexpr std::int64_t width = 64;
#pragma omp parallel for schedule(static)
    for (std::int64_t begin = 0; begin < columns; begin += width) {
        const std::int64_t end = std::min(columns, begin + width);
        double sums[width] = {};
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = begin; c < end; ++c) sums[c - begin] += square(r * columns + c);
        for (std::int64_t c = begin; c < end; ++c) fold(column_means[c], sums[c - begin], rows);
    }
}

// 1 / √(value / unit)
void inverse_roots(const Tensor& values, double unit, float* out) {
    const auto* value = values.data<float>();
    for (std::int64_t i = 0; i < values.elements(); ++i)
        out[i] = static_cast<float>(std::sqrt(unit / static_cast<double>(value[i])));
}

void unit_factors(Cpu, const Tensor& row_means, const Tensor& column_means, const Tensor& factors) {
    const auto* values = row_means.data<float>();
    const std::int64_t rows = row_means.elements();
    double sum = 0;
    for (std::int64_t r = 0; r < rows; ++r) sum += static_cast<double>(values[r]);
    inverse_roots(row_means, sum / static_cast<double>(rows), factors.data<float>());
    inverse_roots(column_means, 1, factors.data<float>() + rows);
}

template <typename Unit>
void apply(const Unit& unit, const AdafactorRate& how, double rate, double beta1, float* value, float* mean,
           std::int64_t rows, std::int64_t columns) {
    std::vector<double> squares(static_cast<std::size_t>(rows));
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c)
            squares[static_cast<std::size_t>(r)] += static_cast<double>(unit(r, c)) * static_cast<double>(unit(r, c));
    double sum = 0;
    for (const double row : squares) sum += row;
    const double size = std::sqrt(sum / static_cast<double>(rows * columns));
    const auto scale = static_cast<float>(rate / std::max(1.0, size / how.clip_threshold));
    const auto keep = static_cast<float>(1 - how.weight_decay * rate);
    const auto old = static_cast<float>(beta1), fresh = static_cast<float>(1 - beta1);
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
            const std::int64_t i = r * columns + c;
            float change = unit(r, c) * scale;
            if (mean) change = mean[i] = old * mean[i] + fresh * change;
            value[i] = value[i] * keep - change;
        }
}

void descend(Cpu, const AdafactorUnit& unit, const AdafactorRate& how, double beta1, const AdafactorRoom&,
             const Tensor& mean, const Tensor& value) {
    const Gradient g{values_of_gradient(unit.gradient), unit.gradient_scale};
    auto* values = value.data<float>();
    auto* means = mean.defined() ? mean.data<float>() : nullptr;
    const std::int64_t elements = value.elements();
    double rate = how.rate;
    if (how.by_size)
        rate *=
            std::max(how.smallest_size, std::sqrt(sum_of_squares(values, elements) / static_cast<double>(elements)));
    if (unit.factors.defined()) {
        const std::int64_t rows = unit.shape.rows(), columns = unit.shape.columns();
        const auto* of_rows = unit.factors.data<float>();
        const auto* of_columns = of_rows + rows;
        const auto product = [=](std::int64_t r, std::int64_t c) {
            return g[r * columns + c] * (of_rows[r] * of_columns[c]);
        };
        apply(product, how, rate, beta1, values, means, rows, columns);
    } else {
        const auto* squares = unit.squares.data<float>();
        const auto quotient = [=](std::int64_t, std::int64_t i) { return g[i] / std::sqrt(squares[i]); };
        apply(quotient, how, rate, beta1, values, means, 1, elements);
    }
}

class Adafactor : public Optimizer {
public:
    Adafactor(const AdafactorOptions& options, const std::vector<UpdatedSlice>& slices)
        : Optimizer(slices), options_(options) {}

    std::vector<StateTensor> state_tensors(const Parameter& parameter) const override {
        std::vector<StateTensor> tensors;
        if (is_matrix(parameter))
            tensors = {{rows_name, DType::f32, 0, parameter.shape.rows()},
                       {columns_name, DType::f32, 0, parameter.shape.columns()}};
        else
            tensors = {{squares_name}};
        if (options_.beta1) tensors.push_back({mean_name});
        return tensors;
    }

protected:
    bool by_element(const Parameter&) const override { return false; }

    void update(const ParameterSlice& slice, const Tensor& value, const Tensor& gradient, State& state,
                const Update& update) const override {
        const PurposeScope purpose(Purpose::workspace);
        const Shape& shape = slice.parameter->shape;
        const Place place = value.place();
        const bool matrix = is_matrix(*slice.parameter);
        const double beta2 = 1 - std::pow(static_cast<double>(update.step), options_.decay_rate);
        const Tensor factors =   // of the rows, then of the columns
            matrix ? Tensor::empty(shape.rows() + shape.columns(), DType::f32, place) : Tensor();
        if (matrix)
            on(place, [&](auto tag) {
                fold_squares(tag, {beta2, options_.eps[0]}, gradient, update.gradient_scale, shape, state.at(rows_name),
                             state.at(columns_name));
                unit_factors(tag, state.at(rows_name), state.at(columns_name), factors);
            });
        else
            on(place, [&](auto tag) {
                const FoldSquare fold{beta2, options_.eps[0], update.gradient_scale};
                update_elements(tag, fold, gradient, state.at(squares_name), {});
            });
        const AdafactorUnit unit{gradient, update.gradient_scale, shape, factors,
                                 matrix ? Tensor() : state.at(squares_name)};
        const AdafactorRate rate{rate_of(update), options_.eps[1], update.weight_decay, options_.clip_threshold,
                                 options_.scale_parameter};
        const AdafactorRoom room = place.on_device() ? room_for(slice) : AdafactorRoom{};
        const Tensor mean = options_.beta1 ? state.at(mean_name) : Tensor();
        on(place, [&](auto tag) { descend(tag, unit, rate, options_.beta1.value_or(0), room, mean, value); });
    }

private:
    // Before it is multiplied by the size of the parameter.
    double rate_of(const Update& update) const {
        const auto t = static_cast<double>(update.step);
        if (!options_.relative_step) return update.learning_rate;
        return update.learning_rate * std::min(options_.warmup_init ? 1e-6 * t : 1e-2, 1 / std::sqrt(t));
    }

    AdafactorRoom room_for(const ParameterSlice& slice) const {
        const Place place = slice.parameter->value.place();
        const std::int64_t rows = is_matrix(*slice.parameter) ? slice.parameter->shape.rows() : 1;
        const std::int64_t grains = options_.scale_parameter ? ShardLayout::grains(slice) : 0;
        return {Tensor::empty(rows + grains, DType::u64, place), Tensor::empty(2, DType::f32, place)};
    }

    AdafactorOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_adafactor(const AdafactorOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Adafactor>(options, slices);
}

}   // namespace trainer
