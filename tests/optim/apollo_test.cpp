#include "optim/apollo.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "configs/yaml.h"
#include "optim/optimizer_options.h"

namespace trainer {
namespace {

using Numbers = std::vector<double>;

float gradient_of(int step, std::int64_t i) { return static_cast<float>((i * 37 + step * 11) % 101 - 50) / 64; }

double norm_of(const Numbers& values) {
    double sum = 0;
    for (const double one : values) sum += one * one;
    return std::sqrt(sum);
}

// The formulas of the header in double, with the rule's own projections.
class Twin {
public:
    Twin(const ApolloOptions& options, const Parameter& parameter, std::uint64_t seed)
        : options_(options), parameter_(parameter), seed_(seed) {
        for (const float one : parameter.value.to_vector<float>()) values.push_back(static_cast<double>(one));
    }

    void step(int t, double rate, double decay) {
        const std::int64_t rows = parameter_.shape.rows(), columns = parameter_.shape.columns();
        const bool wide = rows < columns;
        const Tensor p = apollo_projection(options_, parameter_, seed_, (t - 1) / options_.renew_every);
        const std::int64_t rank = wide ? p.columns() : p.rows(), channels = wide ? columns : rows;
        Numbers r(static_cast<std::size_t>(rank * channels)), n(r.size());
        for (std::int64_t channel = 0; channel < channels; ++channel)
            for (std::int64_t k = 0; k < rank; ++k)
                for (std::int64_t i = 0; i < (wide ? rows : columns); ++i) {
                    const std::int64_t at = wide ? i * columns + channel : channel * columns + i;
                    const double drawn = static_cast<double>(p.data<float>()[wide ? i * rank + k : k * columns + i]);
                    r[static_cast<std::size_t>(channel * rank + k)] += drawn * static_cast<double>(gradient_of(t, at));
                }
        m.resize(r.size());
        v.resize(r.size());
        for (std::size_t i = 0; i < r.size(); ++i) {
            m[i] = options_.betas[0] * m[i] + (1 - options_.betas[0]) * r[i];
            v[i] = options_.betas[1] * v[i] + (1 - options_.betas[1]) * r[i] * r[i];
            n[i] = m[i] / (std::sqrt(v[i]) + options_.eps);
        }
        Numbers u;
        for (std::int64_t i = 0; i < rows * columns; ++i) {
            const std::int64_t channel = wide ? i % columns : i / columns;
            const auto part = [&](const Numbers& all) {
                if (options_.scaling == ApolloScaling::tensor) return all;
                return Numbers(all.begin() + channel * rank, all.begin() + (channel + 1) * rank);
            };
            u.push_back(static_cast<double>(gradient_of(t, i)) * norm_of(part(n)) / (norm_of(part(r)) + 1e-8));
        }
        const double now = norm_of(u);
        const double limiter = before > 0 && options_.largest_growth > 0
                                   ? std::max(1.0, now / ((before + 1e-8) * options_.largest_growth))
                                   : 1;
        before = now / limiter;
        limited = limited || limiter > 1;
        const double correction = std::sqrt(1 - std::pow(options_.betas[1], t)) / (1 - std::pow(options_.betas[0], t));
        for (std::size_t i = 0; i < u.size(); ++i)
            values[i] = values[i] * (1 - rate * decay) - rate * correction * std::sqrt(options_.scale) * u[i] / limiter;
    }

    Numbers values;
    bool limited = false;

private:
    const ApolloOptions options_;
    const Parameter& parameter_;
    std::uint64_t seed_;
    Numbers m, v;
    double before = 0;
};

struct Trial {
    const char* recipe;
    bool limited;   // the growth of some update
};

TEST(Apollo, IsItsFormulas) {
    for (const Trial& trial : {Trial{"{name: apollo, rank: 4, renew_every: 3, lr: 0.1, weight_decay: 0.1}", true},
                               Trial{"{name: apollo, rank: 4, scaling: tensor, scale: 9, lr: 0.01}", true},
                               Trial{"{name: apollo, rank: 5, largest_growth: 0, lr: 0.01}", false},
                               Trial{"{name: apollo_mini, lr: 0.01, renew_every: 2}", true}})
        for (const Shape& shape : {Shape(7, 23), Shape(23, 7), Shape(9, 9), Shape(3, 40)}) {
            SCOPED_TRACE(std::string(trial.recipe) + " " + shape.text());
            Parameter parameter("a.weight", shape);
            parameter.value = Tensor::empty(shape, DType::f32);
            for (std::int64_t i = 0; i < shape.elements(); ++i)
                parameter.value.data<float>()[i] = static_cast<float>(i % 31 - 15) / 8;
            const auto options = read_fields<OptimizerOptions>(parse_yaml(trial.recipe, "r"));
            const ApolloOptions own =
                options.name == "apollo" ? options.rule.as<ApolloOptions>() : options.rule.as<ApolloMiniOptions>();
            Twin twin(own, parameter, 17);
            const Numbers start = twin.values;
            const auto optimizer = make_optimizer(options, whole_slices({&parameter}), 17);
            optimizer->prepare();
            for (int t = 1; t <= 8; ++t) {
                Tensor gradient = Tensor::empty(shape.elements(), DType::f32);
                for (std::int64_t i = 0; i < shape.elements(); ++i) gradient.data<float>()[i] = 2 * gradient_of(t, i);
                optimizer->step({gradient}, options.lr, 0.5f);
                twin.step(t, options.lr, options.weight_decay);
            }
            Numbers moved, error;
            for (std::size_t i = 0; i < start.size(); ++i) {
                moved.push_back(twin.values[i] - start[i]);
                error.push_back(static_cast<double>(parameter.value.data<float>()[i]) - twin.values[i]);
            }
            EXPECT_LT(norm_of(error), 1e-5 * norm_of(moved));
            EXPECT_EQ(twin.limited, trial.limited);
        }
}

TEST(Apollo, ProjectionsAreKeyedAndOfTheirDeviation) {
    const ApolloOptions options;
    const Parameter parameter("a.weight", Shape(300, 2000));
    Parameter placed("a.weight", parameter.shape), other("b.weight", parameter.shape),
        tall("a.weight", Shape(2000, 300));
    for (Parameter* one : {&placed, &other, &tall}) one->value = Tensor::empty(one->shape, DType::f32);
    const Tensor p = apollo_projection(options, placed, 1, 0);
    EXPECT_EQ(p.shape(), Shape(300, 256));
    EXPECT_EQ(apollo_projection(options, tall, 1, 0).shape(), Shape(256, 300));
    const std::vector<float> values = p.to_vector<float>();
    EXPECT_EQ(apollo_projection(options, placed, 1, 0).to_vector<float>(), values);
    double squares = 0, sum = 0;
    for (const float one : values) {
        sum += static_cast<double>(one);
        squares += static_cast<double>(one) * static_cast<double>(one);
    }
    const auto count = static_cast<double>(values.size());
    EXPECT_NEAR(sum / count, 0, 5 / 16.0 / std::sqrt(count));
    EXPECT_NEAR(256 * squares / count, 1, 5 * std::sqrt(2 / count));
    for (const Tensor& drawn : {apollo_projection(options, placed, 2, 0), apollo_projection(options, placed, 1, 1),
                                apollo_projection(options, other, 1, 0)}) {
        const std::vector<float> others = drawn.to_vector<float>();
        double product = 0;
        for (std::size_t i = 0; i < values.size(); ++i)
            product += static_cast<double>(values[i]) * static_cast<double>(others[i]);
        EXPECT_LT(std::abs(256 * product / count), 5 / std::sqrt(count));
    }
}

// Drawn anew by whoever goes on from a state: the projection is none of it.
TEST(Apollo, GoesOnFromItsState) {
    const auto options = read_fields<OptimizerOptions>(parse_yaml("{name: apollo, rank: 4, renew_every: 4}", "r"));
    const auto run = [&](int stop) {
        Parameter parameter("a.weight", Shape(12, 20));
        parameter.value = Tensor::zeros(parameter.shape, DType::f32);
        const auto make = [&] {
            auto made = make_optimizer(options, whole_slices({&parameter}), 3);
            made->prepare();
            return made;
        };
        auto optimizer = make();
        for (int t = 1; t <= 10; ++t) {
            Tensor gradient = Tensor::empty(parameter.shape.elements(), DType::f32);
            for (std::int64_t i = 0; i < gradient.elements(); ++i) gradient.data<float>()[i] = gradient_of(t, i);
            optimizer->step({gradient}, 1e-2, 1.0f);
            if (t != stop) continue;
            auto next = make();
            for (auto& [name, tensor] : next->state(0)) copy(optimizer->state(0).at(name), tensor);
            next->set_steps(t);
            optimizer = std::move(next);
        }
        return parameter.value.to_vector<float>();
    };
    const std::vector<float> expected = run(0);
    for (const int stop : {1, 4, 6}) EXPECT_EQ(run(stop), expected) << stop;
}

}   // namespace
}   // namespace trainer
