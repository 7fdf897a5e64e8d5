#include "optim/adafactor.h"

#include <cmath>

#include "optim/grain_sum.h"

namespace trainer {

namespace {

constexpr const char* rows_name = "exp_avg_sq_row";
constexpr const char* columns_name = "exp_avg_sq_col";
constexpr const char* squares_name = "exp_avg_sq";
constexpr const char* mean_name = "exp_avg";

bool is_matrix(const Parameter& parameter) { return parameter.shape.dimensions() == 2; }

double rms(const float* values, std::int64_t elements) {
    return std::sqrt(sum_of_squares(values, elements) / static_cast<double>(elements));
}

// A gradient with its scale; zeros when there is none.
struct Gradient {
    const float* values;
    float scale;
    float operator[](std::int64_t i) const { return values ? values[i] * scale : 0.0f; }
};

// mean ← β mean + (1 − β) (mean of the squares + eps) for every row, and for every column.
void fold_squares(Cpu, const Gradient& gradient, const Shape& shape, double beta, double eps, float* row_means,
                  float* column_means) {
    const std::int64_t rows = shape.rows();
    const std::int64_t columns = shape.columns();
    const auto square = [&](std::int64_t i) {
        const auto g = static_cast<double>(gradient[i]);
        return g * g + eps;
    };
    const auto fold = [beta](float& mean, double sum, std::int64_t count) {
        mean = static_cast<float>(beta * static_cast<double>(mean) + (1 - beta) * sum / static_cast<double>(count));
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

// p ← p·keep − rate·u with u = unit(row, column), clipped; with `mean` the change goes through a running mean first.
template <typename Unit>
void apply(const Unit& unit, const AdafactorOptions& options, double rate, double weight_decay, float* value,
           float* mean, std::int64_t rows, std::int64_t columns) {
    std::vector<double> squares(static_cast<std::size_t>(rows));
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c)
            squares[static_cast<std::size_t>(r)] += static_cast<double>(unit(r, c)) * static_cast<double>(unit(r, c));
    double sum = 0;
    for (const double row : squares) sum += row;
    const double size = std::sqrt(sum / static_cast<double>(rows * columns));
    const auto scale = static_cast<float>(rate / std::max(1.0, size / options.clip_threshold));
    const auto keep = static_cast<float>(1 - weight_decay * rate);
    const auto old = static_cast<float>(options.beta1.value_or(0));
    const auto fresh = static_cast<float>(1 - options.beta1.value_or(0));
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
            const std::int64_t i = r * columns + c;
            float change = unit(r, c) * scale;
            if (mean) change = mean[i] = old * mean[i] + fresh * change;
            value[i] = value[i] * keep - change;
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
        const Parameter& parameter = *slice.parameter;
        const std::int64_t rows = parameter.shape.rows();
        const std::int64_t columns = parameter.shape.columns();
        const Tensor factors =   // of the rows, then of the columns
            is_matrix(parameter) ? Tensor::empty(rows + columns, DType::f32, value.place()) : Tensor();
        on(value.place(), [&](Cpu cpu) {
            const Gradient g{values_of_gradient(gradient), update.gradient_scale};
            auto* values = value.data<float>();
            float* mean = options_.beta1 ? state.at(mean_name).data<float>() : nullptr;
            const std::int64_t elements = value.elements();
            const double rate = rate_of(update, values, elements);
            const double beta2 = 1 - std::pow(static_cast<double>(update.step), options_.decay_rate);
            if (is_matrix(parameter)) {
                auto* row_means = state.at(rows_name).data<float>();
                auto* column_means = state.at(columns_name).data<float>();
                fold_squares(cpu, g, parameter.shape, beta2, options_.eps[0], row_means, column_means);
                auto* of_rows = factors.data<float>();
                float* of_columns = of_rows + rows;
                inverse_roots(row_means, rows, mean_of(row_means, rows), of_rows);
                inverse_roots(column_means, columns, 1, of_columns);
                const auto unit = [=](std::int64_t r, std::int64_t c) {
                    return g[r * columns + c] * (of_rows[r] * of_columns[c]);
                };
                apply(unit, options_, rate, update.weight_decay, values, mean, rows, columns);
            } else {
                auto* squares = state.at(squares_name).data<float>();
                for (std::int64_t i = 0; i < elements; ++i) {
                    const auto gi = static_cast<double>(g[i]);
                    squares[i] = static_cast<float>(beta2 * static_cast<double>(squares[i]) +
                                                    (1 - beta2) * (gi * gi + options_.eps[0]));
                }
                const auto unit = [=](std::int64_t, std::int64_t i) { return g[i] / std::sqrt(squares[i]); };
                apply(unit, options_, rate, update.weight_decay, values, mean, 1, elements);
            }
        });
    }

private:
    double rate_of(const Update& update, const float* value, std::int64_t elements) const {
        double rate = update.learning_rate;
        const auto t = static_cast<double>(update.step);
        if (options_.relative_step) rate *= std::min(options_.warmup_init ? 1e-6 * t : 1e-2, 1 / std::sqrt(t));
        if (options_.scale_parameter) rate *= std::max(options_.eps[1], rms(value, elements));
        return rate;
    }

    static double mean_of(const float* values, std::int64_t count) {
        double sum = 0;
        for (std::int64_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
        return sum / static_cast<double>(count);
    }

    // 1 / √(value / unit)
    static void inverse_roots(const float* values, std::int64_t count, double unit, float* out) {
        for (std::int64_t i = 0; i < count; ++i)
            out[i] = static_cast<float>(std::sqrt(unit / static_cast<double>(values[i])));
    }

    AdafactorOptions options_;
};

}   // namespace

std::unique_ptr<Optimizer> make_adafactor(const AdafactorOptions& options, const std::vector<UpdatedSlice>& slices) {
    return std::make_unique<Adafactor>(options, slices);
}

}   // namespace trainer
