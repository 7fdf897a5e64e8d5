// Update rules and the gradient norm on the GPU: beside the CPU's, in bits from run to run, and in memory beside the
// plan.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>

#include "autograd/cpu/isa.h"
#include "autograd/memory.h"
#include "configs/yaml.h"
#include "optim/clip.h"
#include "optim/optimizer_options.h"
#include "tests/cuda/device.h"

namespace trainer {
namespace {

// Parameters of odd shapes, cut into slices where the rule can work on them, and their gradients.
class Problem {
public:
    Problem(const std::string& recipe, DType dtype, Place place)
        : options_(read_fields<OptimizerOptions>(parse_yaml(recipe, "r"))), place_(place) {
        for (const auto& [name, shape] : std::vector<std::pair<const char*, Shape>>{{"a.weight", Shape(83, 71)},
                                                                                    {"b.weight", Shape(70, 9)},
                                                                                    {"c.weight", Shape(9, 130)},
                                                                                    {"embed.weight", Shape(66, 100)},
                                                                                    {"v.bias", Shape(1031)},
                                                                                    {"w.bias", Shape(5)}})
            add(name, shape, dtype);
        for (int i = 0; options_.name == "adamw" && i < 70; ++i)   // more than a launch takes
            add(format("n{}.bias", i), Shape(1 + 3 * i), dtype);
        optimizer = make_optimizer(options_, slices, 11);
        optimizer->prepare();
    }

    void run(int steps) {
        for (int t = 0; t < steps; ++t) {
            std::vector<Tensor> gradients;
            for (std::size_t i = 0; i < slices.size(); ++i) {
                const bool missing = i == 2 && t == 1;
                gradients.push_back(missing ? Tensor() : on_place(gradient(i, t), place_));
            }
            optimizer->step(gradients, options_.lr, 0.7f);
        }
    }

    // Of all parameters, and of all state.
    std::vector<float> values() const {
        std::vector<float> all;
        for (const auto& parameter : parameters_) append(all, parameter->value);
        return all;
    }
    std::vector<float> state() const {
        std::vector<float> all;
        for (std::size_t i = 0; i < slices.size(); ++i)
            for (const auto& [name, tensor] : optimizer->state(i)) append(all, tensor);
        return all;
    }

    std::vector<ParameterSlice> slices;
    std::unique_ptr<Optimizer> optimizer;

private:
    void add(const std::string& name, const Shape& shape, DType dtype) {
        Parameter& parameter = *parameters_.emplace_back(std::make_unique<Parameter>(name, shape));
        // One in the middle of others, at no multiple of 16 bytes.
        if (name == "v.bias")
            parameter.value = Tensor::empty(shape.elements() + 3, dtype, place_).row_range(1, shape.elements() + 1);
        else
            parameter.value = Tensor::empty(shape, dtype, place_);
        std::minstd_rand random(static_cast<unsigned>(shape.elements()));
        std::normal_distribution<float> normal;
        parameter.set([&](float* to) { std::generate_n(to, shape.elements(), [&] { return normal(random); }); });
        std::int64_t begin = 0;
        if (why_whole_parameters(options_).empty())
            for (const std::int64_t end : {std::int64_t{1024}, std::int64_t{5120}})
                if (end < shape.elements()) slices.push_back({&parameter, std::exchange(begin, end), end});
        slices.push_back({&parameter, begin, shape.elements()});
    }

    Tensor gradient(std::size_t slice, int t) const {
        std::minstd_rand random(static_cast<unsigned>(slice * 100) + static_cast<unsigned>(t) + 1);
        std::normal_distribution<float> normal;
        std::vector<float> numbers(static_cast<std::size_t>(slices[slice].elements()));
        for (float& one : numbers) one = normal(random) * 0.3f;
        return Tensor::from<float>(numbers, Shape(slices[slice].elements()));
    }

    static void append(std::vector<float>& all, const Tensor& tensor) {
        if (tensor.dtype() == DType::u8) {
            for (const std::uint8_t code : tensor.to_vector<std::uint8_t>()) all.push_back(code);
        } else if (tensor.dtype() == DType::bf16) {
            for (const bf16 one : tensor.to_vector<bf16>()) all.push_back(static_cast<float>(one));
        } else {
            for (const float one : tensor.to_vector<float>()) all.push_back(one);
        }
    }

    OptimizerOptions options_;
    Place place_;
    std::vector<std::unique_ptr<Parameter>> parameters_;
};

double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    return std::sqrt(sum);
}

struct Trial {
    const char* name;
    const char* recipe;
    bool by_element;   // the GPU has the CPU's bits
};

const Trial trials[] = {
    {"adamw", "{name: adamw, lr: 0.01, weight_decay: 0.1}", true},
    {"adamw_8bit", "{name: adamw_8bit, lr: 0.01, weight_decay: 0.1}", true},
    {"ademamix", "{name: ademamix, lr: 0.01, weight_decay: 0.1, alpha_warmup: 4, beta3_warmup: 30}", true},
    {"sgd", "{name: sgd, lr: 0.1, weight_decay: 0.1, momentum: 0}", true},
    {"sgd_momentum", "{name: sgd, lr: 0.1, weight_decay: 0.1}", true},
    {"sgd_nesterov", "{name: sgd, lr: 0.1, weight_decay: 0.1, nesterov: true}", true},
    {"lion", "{name: lion, lr: 0.01, weight_decay: 0.1}", true},
    {"schedule_free_adamw", "{name: schedule_free_adamw, lr: 0.01, weight_decay: 0.1}", true},
    {"adafactor", "{name: adafactor, lr: 0.1, weight_decay: 0.1}", false},
    {"adafactor_mean", "{name: adafactor, lr: 0.1, beta1: 0.9, scale_parameter: true, clip_threshold: 0.9}", false},
    {"adafactor_relative", "{name: adafactor, lr: 1, relative_step: true, warmup_init: true}", false},
    {"muon", "{name: muon, lr: 0.02, weight_decay: 0.1}", false},
    {"muon_plain", "{name: muon, lr: 0.02, nesterov: false, iterations: 3}", false},
    {"apollo", "{name: apollo, rank: 4, renew_every: 3, lr: 0.1, weight_decay: 0.1}", false},
    {"apollo_tensor", "{name: apollo, rank: 5, scaling: tensor, scale: 9, lr: 0.01}", false},
    {"apollo_unlimited", "{name: apollo, rank: 5, largest_growth: 0, lr: 0.01}", false},
    {"apollo_mini", "{name: apollo_mini, lr: 0.01, renew_every: 2}", false},
};

class CudaOptimizer : public ::testing::TestWithParam<Trial> {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        poison_new_memory(true);
        force_isa(Isa::v2);   // others of the 8-bit kernel multiply and add with one rounding
    }
    void TearDown() override {
        force_isa(supported_isa());
        poison_new_memory(false);
    }
};

TEST_P(CudaOptimizer, AgreesWithTheCpu) {
    constexpr int steps = 8;
    const Problem start(GetParam().recipe, DType::f32, Place::cpu());
    Problem host(GetParam().recipe, DType::f32, Place::cpu()), device(GetParam().recipe, DType::f32, Place::cuda());
    host.run(steps);
    device.run(steps);
    if (GetParam().by_element) {
        EXPECT_EQ(device.values(), host.values());
        EXPECT_EQ(device.state(), host.state());
    } else {
        EXPECT_LT(distance(device.values(), host.values()), 1e-5 * distance(host.values(), start.values()));
        EXPECT_LT(distance(device.state(), host.state()), 1e-5 * distance(host.state(), start.state()));
    }
    if (!host.optimizer->has_evaluation_values()) return;
    const std::vector<float> before = host.values();
    host.optimizer->to_evaluation_values();
    device.optimizer->to_evaluation_values();
    EXPECT_NE(host.values(), before);
    EXPECT_EQ(device.values(), host.values());
}

// The same noise rounds them: where the numbers before are not the same to the bit, few end at a neighbour.
TEST_P(CudaOptimizer, RoundsAsTheCpuDoes) {
    Problem host(GetParam().recipe, DType::bf16, Place::cpu()), device(GetParam().recipe, DType::bf16, Place::cuda());
    const std::vector<float> start = host.values();
    const int steps = GetParam().by_element ? 5 : 1;
    host.run(steps);
    device.run(steps);
    const std::vector<float> expected = host.values(), found = device.values();
    EXPECT_NE(expected, start);
    if (GetParam().by_element) {
        EXPECT_EQ(found, expected);
        return;
    }
    std::size_t others = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        others += found[i] != expected[i];
        EXPECT_LE(std::abs(found[i] - expected[i]), 0x1p-7f * std::abs(expected[i])) << i;
    }
    EXPECT_LT(others, expected.size() / 200);
}

TEST_P(CudaOptimizer, NoOrderOfThreadsChangesABit) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const auto run = [&] {
            Problem problem(GetParam().recipe, dtype, Place::cuda());
            problem.run(2);
            return std::pair(problem.values(), problem.state());
        };
        const auto once = run();
        for (int again = 0; again < 2; ++again) {
            const OtherOrder order(again);
            EXPECT_EQ(run(), once) << name_of(dtype);
        }
    }
}

TEST_P(CudaOptimizer, MetaAllocatesExactlyWhatTheDeviceAllocates) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const auto peak = [&](Place place) {
            const std::size_t before = memory_use(place).total();
            reset_memory_peak(place);
            Problem problem(GetParam().recipe, dtype, place);
            problem.run(2);
            if (problem.optimizer->has_evaluation_values()) problem.optimizer->to_evaluation_values();
            MemoryUse use = memory_use(place);
            std::vector<std::size_t> bytes(use.peak_bytes.begin(), use.peak_bytes.end());
            bytes.push_back(use.peak_total() - before);
            return bytes;
        };
        peak(Place::cuda());   // what is made once and kept, such as the room of products, is there now
        EXPECT_EQ(peak(Place::meta(Place::Kind::cuda)).back(), peak(Place::cuda()).back()) << name_of(dtype);
    }
}

INSTANTIATE_TEST_SUITE_P(Rules, CudaOptimizer, ::testing::ValuesIn(trials),
                         [](const auto& trial) { return std::string(trial.param.name); });

class CudaClip : public ::testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
        poison_new_memory(true);
    }
    void TearDown() override { poison_new_memory(false); }

    // More tensors than go into one launch.
    void add(std::int64_t elements, bool missing = false) {
        Parameter& parameter = *parameters_.emplace_back(std::make_unique<Parameter>("p", Shape(elements)));
        slices_.push_back({&parameter, 0, elements});
        std::minstd_rand random(static_cast<unsigned>(slices_.size()));
        std::normal_distribution<float> normal;
        std::vector<float> numbers(static_cast<std::size_t>(elements));
        for (float& one : numbers) one = normal(random);
        host_.push_back(missing ? Tensor() : Tensor::from<float>(numbers, Shape(elements)));
        device_.push_back(on_place(host_.back(), Place::cuda()));
    }

    std::vector<std::unique_ptr<Parameter>> parameters_;
    std::vector<ParameterSlice> slices_;
    std::vector<Tensor> host_, device_;
};

TEST_F(CudaClip, SquaresHaveTheBitsOfTheCpu) {
    EXPECT_EQ(squares_of({}, {}), std::vector<double>());
    for (const std::int64_t elements : {1, 7, 1024, 1025, 40000, 8 * 1024 + 5}) add(elements, elements == 1025);
    for (int i = 0; i < 300; ++i) add(1 + i * 37 % 2500, i == 130);
    const std::vector<double> expected = squares_of(slices_, host_);
    EXPECT_EQ(squares_of(slices_, device_), expected);
    EXPECT_GT(norm_of(expected), 0);
    for (int again = 0; again < 2; ++again) {
        const OtherOrder order(again);
        EXPECT_EQ(squares_of(slices_, device_), expected);
    }
    device_[4] = on_place(Tensor::from<float>(std::vector<float>(40000, INFINITY), Shape(40000)), Place::cuda());
    EXPECT_TRUE(std::isinf(norm_of(squares_of(slices_, device_))));
}

}   // namespace
}   // namespace trainer
