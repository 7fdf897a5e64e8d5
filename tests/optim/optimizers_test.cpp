// What all rules have in common, and each against its reference. The 100 steps of tests/parity/optimizers.py need
// Python.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <memory>

#include "autograd/memory.h"
#include "configs/error.h"
#include "configs/yaml.h"
#include "optim/optimizer_options.h"

namespace trainer {
namespace {

OptimizerOptions options_of(const std::string& yaml) { return read_fields<OptimizerOptions>(parse_yaml(yaml, "r")); }

// A matrix and a vector; gradient i of step t is ((7t + 3i) mod 11 − 5)/8.
class Problem {
public:
    Problem() {
        matrix.value = Tensor::empty(matrix.shape, DType::f32);
        for (std::int64_t r = 0; r < 3; ++r)
            for (std::int64_t c = 0; c < 4; ++c)
                matrix.value.data<float>()[r * 4 + c] = static_cast<float>((r * 5 + c * 3) % 7 - 3) / 4;
        vector.value = Tensor::from<float>(std::vector<float>{0.5f, -1.25f, 0.0f, 3.0f, 0.75f}, Shape(5));
    }

    // Gradients come `scale` times as large.
    void run(const OptimizerOptions& options, int steps, float scale = 1) {
        optimizer = make_optimizer(options, whole_slices({&matrix, &vector}));
        optimizer->prepare();
        for (int t = 0; t < steps; ++t)
            optimizer->step({gradient(matrix, t, scale), gradient(vector, t, scale)}, options.lr, 1 / scale);
    }

    Parameter matrix{"a.weight", Shape(3, 4)};
    Parameter vector{"embed.bias", Shape(5)};
    std::unique_ptr<Optimizer> optimizer;

private:
    static Tensor gradient(const Parameter& parameter, int t, float scale) {
        Tensor out = Tensor::empty(parameter.shape.elements(), DType::f32);
        for (std::int64_t i = 0; i < out.elements(); ++i)
            out.data<float>()[i] = scale * static_cast<float>((t * 7 + i * 3) % 11 - 5) / 8;
        return out;
    }
};

double relative_error(const Tensor& found, const std::vector<double>& expected) {
    double difference = 0;
    double size = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(found.data<float>()[i] - expected[i], 2);
        size += expected[i] * expected[i];
    }
    return std::sqrt(difference / size);
}

struct Golden {
    const char* recipe;
    std::vector<double> matrix;
    std::vector<double> vector;
};

// After 20 steps, in float64: torch.optim.SGD, Lion and Muon by formula, transformers' Adafactor, schedulefree's
// AdamWScheduleFree in its evaluation mode, bitsandbytes' reference of AdEMAMix.
const std::vector<Golden>& goldens() {
    static const std::vector<Golden> all = {
        {"{name: sgd, lr: 0.1, weight_decay: 0.1, momentum: 0}",
         {-0.590733504, -0.032540283, 0.649288459, -0.22763197, 0.451870416, -0.426205452, 0.138327283, -0.603592757,
          0.0707235097, 0.618901867, -0.252884304, 0.431650168},
         {0.431650168, -1.05492395, 0.0358582556, 2.43056558, 0.65634715}},
        {"{name: sgd, lr: 0.1, weight_decay: 0.1, nesterov: true}",
         {-0.0742311816, -0.15261496, 0.19509404, -0.0290876404, 0.223536944, -0.0625094505, -0.229955407, -0.200999276,
          0.215182318, 0.217142887, -0.130377676, 0.0698658329},
         {0.0698658329, -0.296711975, 0.108635831, 0.345564597, 0.252356347}},
        {"{name: lion, lr: 0.01, weight_decay: 0.1}",
         {-0.754982347, -0.0197812349, 0.715399758, -0.264769444, 0.490015604, -0.510153301, 0.20542447, -0.754704991,
          7.97402313e-05, 0.725052732, -0.264927854, 0.470253734},
         {0.470253734, -1.24501732, -0.0197418903, 2.92084437, 0.735062821}},
        {"{name: adafactor, lr: 0.1, weight_decay: 0.1, beta1: 0.9, scale_parameter: true}",
         {-0.661908026, 0.0273225955, 0.723513965, -0.203182131, 0.489253867, -0.410398447, 0.177617037, -0.702927872,
          0.0214084234, 0.709930603, -0.259329974, 0.445893956},
         {0.41115747, -0.975181011, 0.00923017248, 2.32930262, 0.667692374}},
        {"{name: adafactor, lr: 1, relative_step: true, warmup_init: true}",
         {-0.749989753, -4.26131138e-07, 0.750019901, -0.250001452, 0.500006075, -0.500017378, 0.249989498,
          -0.749970399, 2.29739224e-05, 0.749985721, -0.250021143, 0.50000506},
         {0.500011355, -1.25000721, 1.56057089e-05, 3.00000025, 0.750006075}},
        {"{name: muon, lr: 0.02, weight_decay: 0.1}",
         {-0.712314157, -0.0384639675, 0.794051829, -0.245342811, 0.514174109, -0.490915322, 0.144845365, -0.802262372,
          0.0158057467, 0.785481655, -0.250674062, 0.465196524},
         {0.50015315, -1.24951277, -7.99256963e-05, 2.99772885, 0.750367219}},
        {"{name: schedule_free_adamw, lr: 0.01, weight_decay: 0.1}",
         {-0.741013627, -0.000352422148, 0.741985069, -0.24760519, 0.503505626, -0.481634365, 0.235498734, -0.749102649,
          0.00872825877, 0.753618482, -0.249205337, 0.49591233},
         {0.49591233, -1.23727838, -0.000170504694, 2.9684023, 0.750890817}},
        {"{name: ademamix, lr: 0.01, weight_decay: 0.1}",
         {-0.720365629, -0.00875054516, 0.732715009, -0.260401604, 0.516954835, -0.463774547, 0.210354959, -0.769367633,
          0.0185616944, 0.758288354, -0.2581305, 0.504870452},
         {0.504870452, -1.23398663, -0.00242664011, 2.92521221, 0.762002051}},
        {"{name: ademamix, lr: 0.01, weight_decay: 0.1, alpha: 3, alpha_warmup: 10, beta3_warmup: 30}",
         {-0.71899081, -0.00888014863, 0.732603898, -0.261587871, 0.518253425, -0.462808682, 0.209348741, -0.77128311,
          0.0192626843, 0.758917057, -0.258811965, 0.506245271},
         {0.506245271, -1.23411623, -0.00253775079, 2.92402594, 0.763300642}},
    };
    return all;
}

TEST(Optimizers, AgreeWithTheirReferences) {
    for (const Golden& golden : goldens()) {
        Problem problem;
        problem.run(options_of(golden.recipe), 20);
        if (problem.optimizer->has_evaluation_values()) problem.optimizer->to_evaluation_values();
        EXPECT_LT(relative_error(problem.matrix.value, golden.matrix), 1e-6) << golden.recipe;
        EXPECT_LT(relative_error(problem.vector.value, golden.vector), 1e-6) << golden.recipe;
    }
}

// A loss scale changes no bit, whatever a rule does with gradients.
TEST(Optimizers, TakeAPowerOfTwoBackExactly) {
    std::vector<std::string> recipes = {"{name: adamw}", "{name: adamw_8bit}", "{name: apollo, rank: 2}",
                                        "{name: apollo_mini}"};
    for (const Golden& golden : goldens()) recipes.emplace_back(golden.recipe);
    for (const std::string& recipe : recipes) {
        Problem plain, scaled;
        plain.run(options_of(recipe), 7);
        scaled.run(options_of(recipe), 7, 65536);
        EXPECT_EQ(scaled.matrix.value.to_vector<float>(), plain.matrix.value.to_vector<float>()) << recipe;
        EXPECT_EQ(scaled.vector.value.to_vector<float>(), plain.vector.value.to_vector<float>()) << recipe;
    }
}

// A parameter of several grains, its gradients, and an optimizer over slices of it.
struct Sliced {
    Sliced(const std::string& name, const std::vector<std::int64_t>& ends, Place place = Place::cpu(),
           DType dtype = DType::f32, Shape shape = Shape(83, 71))
        : parameter("p.weight", shape) {
        parameter.value = Tensor::empty(parameter.shape, dtype, place);
        std::int64_t begin = 0;
        for (const std::int64_t end : ends) slices.push_back({&parameter, std::exchange(begin, end), end});
        OptimizerOptions options;
        options.choose(name);
        options.weight_decay = 0.1;
        parameter.set([&](float* to) {
            for (std::int64_t i = 0; i < parameter.shape.elements(); ++i) to[i] = static_cast<float>(i % 31 - 15) / 8;
        });
        optimizer = make_optimizer(options, slices, 11);
        optimizer->prepare();
        for (int t = 0; t < 3; ++t) {
            Tensor gradient = Tensor::empty(parameter.shape, DType::f32, place);
            on(place, [&](Cpu) {
                for (std::int64_t i = 0; i < gradient.elements(); ++i)
                    gradient.data<float>()[i] = static_cast<float>((i * 37 + t * 11) % 101 - 50) / 64;
            });
            std::vector<Tensor> gradients;
            for (const ParameterSlice& slice : slices) gradients.push_back(slice.part_of(gradient));
            optimizer->step(gradients, 1e-2, 0.7f);
        }
    }

    std::vector<float> values() const { return converted(parameter.value, DType::f32).to_vector<float>(); }

    Parameter parameter;   // 5893 elements unless a shape is given
    std::vector<ParameterSlice> slices;
    std::unique_ptr<Optimizer> optimizer;
};

TEST(Optimizers, SlicesAndThreadsChangeNoBit) {
    for (const std::string& name : optimizer_names()) {
        for (const DType dtype : {DType::f32, DType::bf16}) {
            const auto values = [&](const std::vector<std::int64_t>& ends) {
                return Sliced(name, ends, Place::cpu(), dtype).values();
            };
            const std::vector<float> expected = values({5893});
            OptimizerOptions options;
            options.choose(name);
            if (why_whole_parameters(options).empty())
                EXPECT_EQ(values({1024, 4096, 5893}), expected) << name;
            else
                EXPECT_THROW(values({1024, 4096, 5893}), Error) << name;
            const int before = omp_get_max_threads();
            for (const int threads : {2, 3, 5}) {
                omp_set_num_threads(threads);
                EXPECT_EQ(values({5893}), expected) << name << threads;
            }
            omp_set_num_threads(before);
        }
    }
}

// A slice of several pieces, and the same cut where they end and elsewhere.
TEST(Optimizers, PiecesChangeNoBit) {
    const Shape shape(601, 1024);
    for (const char* name : {"adamw", "adamw_8bit", "schedule_free_adamw"}) {
        const auto values = [&](const std::vector<std::int64_t>& ends) {
            return Sliced(name, ends, Place::cpu(), DType::bf16, shape).values();
        };
        const std::vector<float> expected = values({601 << 10});
        EXPECT_EQ(values({256 << 10, 601 << 10}), expected) << name;
        EXPECT_EQ(values({100 << 10, 300 << 10, 601 << 10}), expected) << name;
    }
}

// From the same bf16 values, rounded after every update: no step is off by more than the distance of neighbours.
TEST(Optimizers, ValuesInBf16FollowThoseInF32) {
    for (const std::string& name : optimizer_names()) {
        const std::vector<float> wide = Sliced(name, {5893}).values();
        const std::vector<float> rounded = Sliced(name, {5893}, Place::cpu(), DType::bf16).values();
        double difference = 0, largest = 0;
        for (std::size_t i = 0; i < wide.size(); ++i) {
            const auto error = static_cast<double>(rounded[i] - wide[i]);
            difference += error;
            largest = std::max(largest, std::abs(error));
        }
        EXPECT_LT(largest, 3 * 0x1p-7) << name;   // below 2 neighbours are 2⁻⁷ apart
        EXPECT_GT(largest, 0x1p-10) << name;
        // a mean of 5893 of deviation below √3 · 2⁻⁸
        EXPECT_LT(std::abs(difference) / 5893, 5 * std::sqrt(3.0) * 0x1p-8 / std::sqrt(5893.0)) << name;
    }
}

TEST(Optimizers, RunOnMeta) {
    const std::map<std::string, std::size_t> state = {{"adamw", 8 * 5893},
                                                      {"adamw_8bit", 2 * 5893 + 8 * 24},
                                                      {"ademamix", 12 * 5893},
                                                      {"sgd", 4 * 5893},
                                                      {"lion", 4 * 5893},
                                                      {"adafactor", 4 * (83 + 71)},
                                                      {"muon", 4 * 5893},
                                                      {"apollo", 4 * (2 * 83 * 71 + 1)},
                                                      {"apollo_mini", 4 * (2 * 83 + 1)},
                                                      {"schedule_free_adamw", 8 * 5893}};
    for (const std::string& name : optimizer_names()) {
        const Sliced planned(name, {5893}, Place::meta());
        std::size_t bytes = 0;
        for (const auto& [key, tensor] : planned.optimizer->state(0)) bytes += tensor.bytes();
        EXPECT_EQ(bytes, state.at(name)) << name;
        const Sliced rounded(name, {5893}, Place::meta(), DType::bf16);
        EXPECT_EQ(rounded.parameter.value.bytes(), 2u * 5893);
    }
}

TEST(Optimizers, AMissingGradientIsZero) {
    for (const std::string& name : optimizer_names()) {
        std::vector<std::vector<float>> results;
        for (const bool missing : {false, true}) {
            Sliced problem(name, {5893});
            const Tensor zeros = Tensor::zeros(5893, DType::f32);
            problem.optimizer->step({missing ? Tensor() : zeros}, 1e-2, 1.0f);
            results.push_back(problem.values());
        }
        EXPECT_EQ(results[0], results[1]) << name;
    }
}

TEST(OptimizerGroups, HaveRatesAndDecaysOfTheirOwn) {
    Problem plain;
    Problem grouped;
    plain.vector.decay = grouped.vector.decay = false;
    plain.run(options_of("{name: sgd, momentum: 0, lr: 0.01, weight_decay: 0.5}"), 1);
    grouped.run(options_of("{name: sgd, momentum: 0, lr: 0.01, weight_decay: 0.5, groups: [{match: 'embed\\..*', lr: "
                           "0.04, weight_decay: 0.25}, {match: .*, weight_decay: 0}]}"),
                1);
    const auto gradient = [](std::int64_t i) { return static_cast<float>(i * 3 % 11 - 5) / 8; };
    const Problem start;
    for (std::int64_t i = 0; i < 5; ++i) {
        const float value = start.vector.value.data<float>()[i];
        EXPECT_FLOAT_EQ(plain.vector.value.data<float>()[i], value - 0.01f * gradient(i));
        EXPECT_FLOAT_EQ(grouped.vector.value.data<float>()[i], value - 0.04f * (gradient(i) + 0.25f * value));
    }
    for (std::int64_t i = 0; i < 12; ++i) {
        const float value = start.matrix.value.data<float>()[i];
        EXPECT_FLOAT_EQ(plain.matrix.value.data<float>()[i], value - 0.01f * (gradient(i) + 0.5f * value));
        EXPECT_FLOAT_EQ(grouped.matrix.value.data<float>()[i], value - 0.01f * gradient(i));
    }
}

// As LoRA+ asks for B.
TEST(OptimizerGroups, RatesAreMultipliedAsThoseOfAll) {
    Problem plain;
    Problem multiplied;
    multiplied.vector.lr_scale = 4;
    plain.run(options_of("{name: sgd, lr: 0.01, groups: [{match: embed.*, lr: 0.08}]}"), 3);
    multiplied.run(options_of("{name: sgd, lr: 0.01, groups: [{match: embed.*, lr: 0.02}]}"), 3);
    EXPECT_EQ(multiplied.vector.value.to_vector<float>(), plain.vector.value.to_vector<float>());
}

TEST(OptimizerGroups, ThatMatchNothingAreRefused) {
    Problem problem;
    const auto refusal = [&](const std::string& groups) -> std::string {
        try {
            check_groups(options_of("{groups: " + groups + "}").groups, {&problem.matrix, &problem.vector});
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_recipe);
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(refusal("[{match: .*weight, lr: 1}, {match: .*, lr: 2}]"), "");
    EXPECT_EQ(refusal("[{match: a.weigth, lr: 1}]"),
              "optimizer.groups.0: \"a.weigth\" matches no trained parameter as a whole name, such as a.weight");
    EXPECT_EQ(refusal("[{match: lora_B, lr: 1}]"),
              "optimizer.groups.0: \"lora_B\" matches no trained parameter as a whole name, such as a.weight or "
              "embed.bias");
    EXPECT_EQ(
        refusal("[{match: .*, lr: 1}, {match: embed.*, lr: 2}]"),
        "optimizer.groups.1: \"embed.*\" matches only parameters that a group before it matches; the first counts");
    EXPECT_NE(refusal("[{match: '(', lr: 1}]").find("optimizer.groups: \"(\" is no regular expression: "),
              std::string::npos);
}

// What AdamW updates in the place of a rule for whole matrices has AdamW's bits, a piece widened at a time.
TEST(Optimizer, WidensInPiecesWhatAdamWUpdates) {
    struct Case {
        std::string rule;
        std::string parameter;
        Shape shape;
    };
    const std::string common = "lr: 1e-2, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1}";
    const auto values_after = [&](const std::string& rule, const Case& one) {
        Parameter parameter(one.parameter, one.shape);
        parameter.value = Tensor::zeros(one.shape, DType::bf16, Place::cpu());
        Tensor gradient = Tensor::empty(one.shape.elements(), DType::f32);
        for (std::int64_t i = 0; i < gradient.elements(); ++i)
            gradient.data<float>()[i] = static_cast<float>(i % 23 - 11) / 8;
        const OptimizerOptions options = options_of(rule + common);
        const auto optimizer = make_optimizer(options, whole_slices({&parameter}), 5);
        optimizer->prepare();
        reset_memory_peak(Place::cpu());
        for (int step = 0; step < 3; ++step) optimizer->step({gradient}, options.lr, 1.0f);
        const std::size_t widened = memory_use(Place::cpu()).peak_bytes[static_cast<std::size_t>(Purpose::workspace)];
        EXPECT_LE(widened, 256 * 1024 * sizeof(float));
        std::vector<std::uint16_t> bits;
        for (const bf16 value : parameter.value.to_vector<bf16>()) bits.push_back(value.bits);
        return bits;
    };
    for (const Case& one : {Case{"{name: muon, adamw_lr_ratio: 1, ", "embed.weight", Shape(700, 1000)},
                            Case{"{name: muon, adamw_lr_ratio: 1, ", "a.bias", Shape(700'000)},
                            Case{"{name: apollo, ", "embed.weight", Shape(700, 1000)},
                            Case{"{name: apollo_mini, ", "a.bias", Shape(700'000)}}) {
        SCOPED_TRACE(one.rule + one.parameter);
        EXPECT_EQ(values_after(one.rule, one), values_after("{name: adamw, ", one));
    }
}

// Products of long matrices with narrow results are added up from parts.
TEST(Optimizers, MemoryOfLongMatricesIsTheSameOnMeta) {
    const auto peak = [](const char* rule, const Shape& shape, Place place) {
        Parameter parameter("a.weight", shape);
        parameter.value = Tensor::zeros(shape, DType::f32, place);
        const auto optimizer = make_optimizer(options_of(rule), whole_slices({&parameter}));
        optimizer->prepare();
        const Tensor gradient = Tensor::zeros(Shape(shape.elements()), DType::f32, place);
        const std::size_t before = memory_use(place).total();
        reset_memory_peak(place);
        optimizer->step({gradient}, 0.1, 1.0f);
        return memory_use(place).peak_total() - before;
    };
    for (const char* rule : {"{name: muon, iterations: 1}", "{name: apollo, rank: 16}", "{name: apollo_mini}"})
        for (const Shape& shape : {Shape(4096, 48), Shape(48, 4096), Shape(1536, 1024), Shape(1024, 1536)})
            EXPECT_EQ(peak(rule, shape, Place::meta()), peak(rule, shape, Place::cpu())) << rule << shape.text();
}

}   // namespace
}   // namespace trainer
