#include "trainer/stepper.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "autograd/cpu/rows.h"
#include "comm/solo.h"
#include "hub/load.h"
#include "optim/loss_scaler.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/training.h"
#include "trainer/objectives/registry.h"

namespace trainer::test {
namespace {

using Gradients = std::map<std::string, std::vector<float>>;

// Changes nothing and remembers what it was given.
class Recorder : public Optimizer {
public:
    using Optimizer::Optimizer;
    mutable Gradients gradients;
    mutable float scale = -1;

    std::vector<StateTensor> state_tensors(const Parameter&) const override { return {{"unused"}}; }

protected:
    void update(const ParameterSlice& slice, const Tensor&, const Tensor& gradient, State&,
                const Update& given) const override {
        gradients[slice.parameter->name] = gradient.to_vector<float>();
        scale = given.gradient_scale;
    }
};

// The tiny model with an adapter whose B is not zero.
struct Bench {
    TinyProject project;
    Inputs inputs = project.inputs();
    DeclaredModel declared = declare_model(inputs.recipe, inputs.base.snapshot);
    std::unique_ptr<Objective> objective = objectives().at("sft")();
    std::unique_ptr<Communicator> solo = make_solo();
    std::unique_ptr<DataPath> path;
    std::unique_ptr<Stepper> stepper;
    std::unique_ptr<Recorder> recorder;

    Bench() {
        declared.model->prepare(Place::cpu(), DType::f32, 256);
        load_parameters(declared.model->parameters(), *inputs.base.snapshot.weights, "model");
        declared.peft->initialise(1);
        std::mt19937 generator(5);
        std::normal_distribution<float> normal(0.0f, 0.1f);
        for (Parameter* parameter : declared.peft->parameters()) {
            if (!parameter->name.ends_with("lora_B.weight")) continue;
            auto* values = parameter->value.data<float>();
            for (std::int64_t i = 0; i < parameter->shape.elements(); ++i) values[i] = normal(generator);
            parameter->changed();
        }
    }

    std::vector<Batch> leaves(const std::vector<Row>& rows, std::int64_t micro_batch) const {
        std::vector<Batch> made;
        for (const auto& chosen : leaves_in_order(static_cast<std::int64_t>(rows.size()), micro_batch))
            made.push_back(make_batch(inputs.train.examples, rows, chosen, 1, 0));
        return made;
    }

    Stepper::Result step(const std::vector<Batch>& batches, StepperOptions options = {}, double loss_scale = 1) {
        return step(*solo, batches, options, loss_scale);
    }
    Stepper::Result step(Communicator& ranks, const std::vector<Batch>& batches, StepperOptions options,
                         double loss_scale) {
        path = make_host_path(ranks, Place::cpu());
        stepper = std::make_unique<Stepper>(*declared.model, *objective, *path, options);
        std::vector<UpdatedSlice> updated;
        for (const ParameterSlice& slice : stepper->slices()) updated.push_back({slice});
        recorder = std::make_unique<Recorder>(updated);
        recorder->prepare();
        return stepper->step(
            static_cast<std::int64_t>(batches.size()),
            [&](std::int64_t leaf) { return batches[static_cast<std::size_t>(leaf)]; }, *recorder, 1e-3, loss_scale);
    }
};

double distance(const Gradients& a, const Gradients& b) {
    double difference = 0, norm = 0;
    for (const auto& [name, values] : a)
        for (std::size_t i = 0; i < values.size(); ++i) {
            difference += std::pow(static_cast<double>(values[i]) - b.at(name)[i], 2);
            norm += std::pow(static_cast<double>(values[i]), 2);
        }
    return std::sqrt(difference / norm);
}

TEST(Stepper, AccumulationGivesTheGradientsOfTheWholeBatch) {
    Bench bench;
    const std::vector<Row> rows = rows_without_packing(bench.inputs.train.examples);
    const Stepper::Result whole = bench.step(bench.leaves(rows, 16));
    const Gradients expected = bench.recorder->gradients;
    ASSERT_EQ(expected.size(), 28u);   // A and B of seven layers in two blocks
    for (const std::int64_t micro_batch : {1, 3, 4}) {
        for (const bool strict : {true, false}) {
            StepperOptions options;
            options.sums = strict ? Determinism::strict : Determinism::repeatable;
            const Stepper::Result parts = bench.step(bench.leaves(rows, micro_batch), options);
            EXPECT_LT(distance(expected, bench.recorder->gradients), 1e-5) << micro_batch;
            EXPECT_NEAR(parts.sums.loss, whole.sums.loss, 1e-6 * whole.sums.loss);
            EXPECT_EQ(parts.sums.count, whole.sums.count);
            EXPECT_EQ(parts.sums.input_tokens, whole.sums.input_tokens);
        }
    }
}

TEST(Stepper, PackingGivesTheSameGradients) {
    Bench bench;
    const auto& examples = bench.inputs.train.examples;
    const Stepper::Result plain = bench.step(bench.leaves(rows_without_packing(examples), 4));
    const Gradients expected = bench.recorder->gradients;
    const std::vector<Row> packed = pack_best_fit(examples, 256);
    ASSERT_LT(packed.size(), examples.size());
    const Stepper::Result result = bench.step(bench.leaves(packed, 2));
    EXPECT_LT(distance(expected, bench.recorder->gradients), 1e-5);
    EXPECT_NEAR(result.sums.loss, plain.sums.loss, 1e-6 * plain.sums.loss);
}

TEST(Stepper, RecomputeGivesTheSameBits) {
    Bench bench;
    const auto leaves = bench.leaves(rows_without_packing(bench.inputs.train.examples), 4);
    const Stepper::Result plain = bench.step(leaves);
    const Gradients expected = bench.recorder->gradients;
    StepperOptions options;
    options.recompute = Recompute::block;
    const Stepper::Result again = bench.step(leaves, options);
    EXPECT_EQ(again.sums.loss, plain.sums.loss);
    EXPECT_EQ(bench.recorder->gradients, expected);
}

TEST(Stepper, TheNormIsMeasuredBeforeClipping) {
    Bench bench;
    const auto leaves = bench.leaves(rows_without_packing(bench.inputs.train.examples), 4);
    StepperOptions options;
    options.clip_norm = 0;
    const Stepper::Result free = bench.step(leaves, options);
    EXPECT_EQ(bench.recorder->scale, 1.0f);
    double squares = 0;
    for (const auto& [name, values] : bench.recorder->gradients)
        for (const float value : values) squares += static_cast<double>(value) * value;
    EXPECT_NEAR(free.gradient_norm, std::sqrt(squares), 1e-9 * free.gradient_norm);
    options.clip_norm = free.gradient_norm / 4;
    EXPECT_EQ(bench.step(leaves, options).gradient_norm, free.gradient_norm);
    EXPECT_NEAR(bench.recorder->scale, 0.25, 1e-6);
}

TEST(Stepper, ADivergedStepChangesNothing) {
    Bench bench;
    Parameter& parameter = *bench.declared.peft->parameters().front();
    parameter.value.data<float>()[0] = std::nanf("");
    parameter.changed();
    const Stepper::Result result = bench.step(bench.leaves(rows_without_packing(bench.inputs.train.examples), 4));
    EXPECT_FALSE(result.applied);
    EXPECT_TRUE(std::isnan(result.sums.loss));
    EXPECT_EQ(bench.recorder->steps(), 0);
    EXPECT_TRUE(bench.recorder->gradients.empty());
}

// The gradients are those without a scale times it, to the bit, and are taken back as exactly.
TEST(Stepper, ALossScaleChangesNoBitOfWhatIsApplied) {
    Bench bench;
    const auto leaves = bench.leaves(rows_without_packing(bench.inputs.train.examples), 4);
    StepperOptions options;
    options.clip_norm = 0;
    options.clip_norm = bench.step(leaves, options).gradient_norm / 4;
    const Stepper::Result plain = bench.step(leaves, options);
    const Gradients expected = bench.recorder->gradients;
    const float clip = bench.recorder->scale;
    for (const double scale : {2.0, 65536.0, 0x1p40, 0.25}) {
        const Stepper::Result scaled = bench.step(leaves, options, scale);
        EXPECT_TRUE(scaled.applied);
        EXPECT_EQ(scaled.sums.loss, plain.sums.loss);
        EXPECT_EQ(scaled.gradient_norm, plain.gradient_norm) << scale;
        EXPECT_EQ(bench.recorder->scale, clip / static_cast<float>(scale));
        for (const auto& [name, values] : bench.recorder->gradients)
            for (std::size_t i = 0; i < values.size(); ++i)
                ASSERT_EQ(values[i], expected.at(name)[i] * static_cast<float>(scale)) << name << " " << scale;
    }
}

// A scale that is too large for f32: both ranks see the same norm, skip the step and scale down alike, until it fits.
TEST(Stepper, RanksAgreeOnTheLossScale) {
    for (const Sharding sharding : {Sharding::none, Sharding::optimizer, Sharding::gradients}) {
        std::vector<std::vector<double>> norms(2), scales(2);
        run_ranks(2, [&](Communicator& ranks) {
            Bench bench;
            const auto rank = static_cast<std::size_t>(ranks.rank());
            for (Parameter* parameter : bench.declared.peft->parameters()) {   // makes the gradients of A large
                if (!parameter->name.ends_with("lora_B.weight")) continue;
                on(parameter->value.place(), [&](Cpu cpu) { scale_rows(cpu, parameter->value, 64); });
                parameter->changed();
            }
            auto leaves = bench.leaves(rows_without_packing(bench.inputs.train.examples), 8);
            ASSERT_EQ(leaves.size(), 2u);
            StepperOptions options;
            options.sharding = sharding;
            LossScaler scaler{.scale = 0x1p126};
            for (int step = 0; step < 12; ++step) {
                const Stepper::Result result = bench.step(ranks, leaves, options, scaler.scale);
                EXPECT_TRUE(std::isfinite(result.sums.loss));
                EXPECT_EQ(result.applied, std::isfinite(result.gradient_norm));
                EXPECT_EQ(bench.recorder->steps(), result.applied ? 1 : 0);
                scaler.update(result.applied);
                norms[rank].push_back(result.applied ? result.gradient_norm : -1);
                scales[rank].push_back(scaler.scale);
            }
        });
        EXPECT_EQ(norms[0], norms[1]);
        EXPECT_EQ(scales[0], scales[1]);
        EXPECT_EQ(norms[0].front(), -1);
        EXPECT_GT(norms[0].back(), 0);
    }
}

}   // namespace
}   // namespace trainer::test
