#include "optim/adamw.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>

#include "optim/optimizer_options.h"

namespace trainer {
namespace {

using Values = std::vector<double>;

double relative_error(const std::vector<float>& a, const Values& b) {
    EXPECT_EQ(a.size(), b.size());
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        size += b[i] * b[i];
    }
    return std::sqrt(difference / size);
}

void set(Tensor& tensor, const Values& values) {
    const std::vector<float> narrow(values.begin(), values.end());
    tensor = Tensor::from<float>(narrow, Shape(static_cast<std::int64_t>(values.size())));
}

// With the parameters' own gradients.
void step(Optimizer& optimizer, double learning_rate, float gradient_scale) {
    std::vector<Tensor> gradients;
    for (const ParameterSlice& slice : optimizer.slices()) gradients.push_back(slice.gradient());
    optimizer.step(gradients, learning_rate, gradient_scale);
}

// As make_optimizer has it: parameters that are not decayed have none.
std::vector<UpdatedSlice> with_decay(double weight_decay, const std::vector<ParameterSlice>& slices) {
    std::vector<UpdatedSlice> updated;
    for (const ParameterSlice& slice : slices) updated.push_back({slice, 1, slice.parameter->decay ? weight_decay : 0});
    return updated;
}

struct Golden {
    double weight_decay;
    int steps;
    Values value, mean, square;
};

// torch.optim.AdamW in float64, lr 0.01, betas (0.9, 0.999), eps 1e-8; gradient i of step t is ((7t + 3i) mod 11 −
// 5)/8.
const std::vector<Golden>& goldens() {
    static const std::vector<Golden> all = {
        {0.0,
         1,
         {0.50999999984, -1.2400000004, -0.009999999200000064, 2.9900000002},
         {-0.062499999999999986, -0.024999999999999994, 0.012499999999999997, 0.04999999999999999},
         {0.00039062500000000035, 6.250000000000006e-05, 1.5625000000000014e-05, 0.0002500000000000002}},
        {0.0,
         100,
         {0.5159798339008875, -1.2560090359210108, -0.0020221209591438057, 2.9823882465064675},
         {-0.05583780739118482, -0.04772779394314447, 0.030089424450097463, 0.04062313104129974},
         {0.015097351099014765, 0.0147824784869394, 0.014748860295292309, 0.014968502062952797}},
        {0.1,
         1,
         {0.50949999984, -1.2387500004, -0.009999999200000064, 2.9870000001999997},
         {-0.062499999999999986, -0.024999999999999994, 0.012499999999999997, 0.04999999999999999},
         {0.00039062500000000035, 6.250000000000006e-05, 1.5625000000000014e-05, 0.0002500000000000002}},
        {0.1,
         100,
         {0.4668817836519781, -1.136339658287087, -0.0017285237078843844, 2.698377895939715},
         {-0.05583780739118482, -0.04772779394314447, 0.030089424450097463, 0.04062313104129974},
         {0.015097351099014765, 0.0147824784869394, 0.014748860295292309, 0.014968502062952797}},
    };
    return all;
}

TEST(AdamW, AgreesWithTorch) {
    for (const Golden& golden : goldens()) {
        Parameter parameter("p", Shape(4));
        parameter.trainable = true;
        set(parameter.value, {0.5, -1.25, 0.0, 3.0});
        const auto optimizer =
            make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(golden.weight_decay, whole_slices({&parameter})));
        optimizer->prepare();
        for (int t = 0; t < golden.steps; ++t) {
            Values gradient;
            for (int i = 0; i < 4; ++i) gradient.push_back(((t * 7 + i * 3) % 11 - 5) / 8.0);
            set(parameter.gradient, gradient);
            step(*optimizer, 0.01f, 1.0f);
        }
        const double bound = golden.steps == 1 ? 1e-6 : 1e-5;
        const auto& state = optimizer->state(0);
        EXPECT_EQ(optimizer->steps(), golden.steps);
        EXPECT_LT(relative_error(parameter.value.to_vector<float>(), golden.value), bound);
        EXPECT_LT(relative_error(state.at("exp_avg").to_vector<float>(), golden.mean), bound);
        EXPECT_LT(relative_error(state.at("exp_avg_sq").to_vector<float>(), golden.square), bound);
    }
}

// The rule in double, element by element.
struct Twin {
    Values value, mean, square;
    void step(const Values& gradient, double lr, double decay, double beta1, double beta2, double eps, int t) {
        for (std::size_t i = 0; i < value.size(); ++i) {
            mean[i] = beta1 * mean[i] + (1 - beta1) * gradient[i];
            square[i] = beta2 * square[i] + (1 - beta2) * gradient[i] * gradient[i];
            const double mean_hat = mean[i] / (1 - std::pow(beta1, t));
            const double square_hat = square[i] / (1 - std::pow(beta2, t));
            value[i] = value[i] * (1 - lr * decay) - lr * mean_hat / (std::sqrt(square_hat) + eps);
        }
    }
};

// Values from zero, as LoRA's B: an error of the update is not hidden by a large value.
TEST(AdamW, AgreesWithTheRuleInDouble) {
    constexpr std::int64_t elements = 1000;
    for (double decay : {0.0, 0.1})
        for (double beta2 : {0.95, 0.999}) {
            Parameter parameter("p", Shape(elements));
            parameter.trainable = true;
            parameter.value = Tensor::zeros(Shape(elements), DType::f32);
            Twin twin{Values(elements), Values(elements), Values(elements)};
            const auto optimizer =
                make_adamw(AdamWOptions{{0.9, beta2}, 1e-8}, with_decay(decay, whole_slices({&parameter})));
            optimizer->prepare();
            std::mt19937 random(3);
            std::normal_distribution<float> normal;
            for (int t = 1; t <= 100; ++t) {
                const float lr = 1e-3f * static_cast<float>(t % 7 + 1);
                Values gradient;
                for (std::int64_t i = 0; i < elements; ++i) gradient.push_back(normal(random));
                set(parameter.gradient, gradient);
                for (double& g : gradient) g *= 0.25;
                step(*optimizer, lr, 0.25f);
                twin.step(gradient, lr, decay, 0.9, beta2, 1e-8, t);
                if (t != 1 && t != 100) continue;
                EXPECT_LT(relative_error(parameter.value.to_vector<float>(), twin.value), t == 1 ? 1e-6 : 1e-5)
                    << decay << " " << beta2;
            }
        }
}

TEST(AdamW, BiasesAndNormsAreNotDecayed) {
    Parameter decayed("weight", Shape(2));
    Parameter kept("norm", Shape(2));
    kept.decay = false;
    for (Parameter* parameter : {&decayed, &kept}) set(parameter->value, {1, -2});
    const auto optimizer =
        make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(0.5, whole_slices({&decayed, &kept})));
    optimizer->prepare();
    step(*optimizer, 0.1f, 1.0f);
    EXPECT_LT(relative_error(decayed.value.to_vector<float>(), {0.95, -1.9}), 1e-7);
    EXPECT_EQ(kept.value.to_vector<float>(), (std::vector<float>{1, -2}));
}

TEST(AdamW, AMissingGradientIsAZeroOne) {
    Parameter missing("missing", Shape(3));
    Parameter zero("zero", Shape(3));
    for (Parameter* parameter : {&missing, &zero}) set(parameter->value, {1, -2, 3});
    const auto optimizer =
        make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(0.01, whole_slices({&missing, &zero})));
    optimizer->prepare();
    for (Parameter* parameter : {&missing, &zero}) set(parameter->gradient, {0.5, -0.25, 2});
    step(*optimizer, 0.1f, 1.0f);
    missing.gradient = Tensor();
    set(zero.gradient, {0, 0, 0});
    const std::vector<float> before = missing.value.to_vector<float>();
    for (int i = 0; i < 3; ++i) step(*optimizer, 0.1f, 1.0f);
    EXPECT_EQ(missing.value.to_vector<float>(), zero.value.to_vector<float>());
    EXPECT_EQ(optimizer->state(0).at("exp_avg_sq").to_vector<float>(),
              optimizer->state(1).at("exp_avg_sq").to_vector<float>());
    EXPECT_NE(missing.value.to_vector<float>(), before);   // the mean of earlier gradients goes on
}

TEST(AdamW, ARateOfZeroOnlyMovesTheState) {
    Parameter parameter("p", Shape(2));
    set(parameter.value, {1, -2});
    set(parameter.gradient, {3, 4});
    const auto optimizer = make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(0.5, whole_slices({&parameter})));
    optimizer->prepare();
    step(*optimizer, 0.0f, 1.0f);
    EXPECT_EQ(parameter.value.to_vector<float>(), (std::vector<float>{1, -2}));
    EXPECT_LT(relative_error(optimizer->state(0).at("exp_avg").to_vector<float>(), {0.3, 0.4}), 1e-7);
    EXPECT_EQ(parameter.gradient.to_vector<float>(), (std::vector<float>{3, 4}));
}

TEST(AdamW, BitsDoNotDependOnThreads) {
    const int before = omp_get_max_threads();
    std::vector<float> one;
    for (int threads : {1, 2, 3, 5}) {
        omp_set_num_threads(threads);
        Parameter parameter("p", Shape(10007));
        Values values;
        for (int i = 0; i < 10007; ++i) values.push_back(std::sin(i));
        set(parameter.value, values);
        set(parameter.gradient, values);
        const auto optimizer =
            make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(0.5, whole_slices({&parameter})));
        optimizer->prepare();
        for (int i = 0; i < 3; ++i) step(*optimizer, 0.1f, 0.3f);
        if (threads == 1) one = parameter.value.to_vector<float>();
        EXPECT_EQ(parameter.value.to_vector<float>(), one) << threads << " threads";
    }
    omp_set_num_threads(before);
}

TEST(AdamW, SlicesGiveTheBitsOfTheWhole) {
    constexpr std::int64_t elements = 5000;
    const auto updated = [](bool sliced) {
        Parameter parameter("p", Shape(50, 100));
        std::mt19937 random(4);
        std::normal_distribution<float> normal;
        parameter.value = Tensor::empty(parameter.shape, DType::f32);
        parameter.gradient = Tensor::empty(parameter.shape, DType::f32);
        for (const Tensor& tensor : {parameter.value, parameter.gradient})
            for (std::int64_t i = 0; i < elements; ++i) tensor.data<float>()[i] = normal(random);
        std::vector<ParameterSlice> slices = whole_slices({&parameter});
        if (sliced) slices = {{&parameter, 0, 1024}, {&parameter, 1024, 1025}, {&parameter, 1025, elements}};
        const auto optimizer = make_adamw(AdamWOptions{{0.9, 0.999}, 1e-8}, with_decay(0.5, slices));
        optimizer->prepare();
        for (int i = 0; i < 3; ++i) step(*optimizer, 0.1f, 0.3f);
        return parameter.value.to_vector<float>();
    };
    EXPECT_EQ(updated(true), updated(false));
}

TEST(AdamW, StateAndPlanOnMeta) {
    Parameter parameter("p", Shape(4, 3));
    parameter.value = Tensor::empty(parameter.shape, DType::f32, Place::meta());
    const std::size_t before = memory_use(Place::meta()).bytes[static_cast<std::size_t>(Purpose::optimizer)];
    const auto optimizer = make_optimizer({}, whole_slices({&parameter}));
    optimizer->prepare();
    step(*optimizer, 0.1f, 1.0f);
    EXPECT_EQ(optimizer->state(0).size(), 2u);
    EXPECT_EQ(optimizer->state(0).at("exp_avg").shape(), Shape(12));
    EXPECT_GE(memory_use(Place::meta()).bytes[static_cast<std::size_t>(Purpose::optimizer)], before + 2 * 12 * 4);
}

}   // namespace
}   // namespace trainer
