// Every optimizer, and the schedule with a memory: stopped and resumed, on several ranks and with what they share out,
// the same bits.
#include <gtest/gtest.h>
#include <signal.h>

#include "configs/json.h"
#include "hub/export.h"
#include "hub/safetensors.h"
#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

const std::vector<std::string> all_shardings = {"none", "optimizer", "gradients"};

// Stopped after two of its six steps, and on two ranks with everything that they may share out.
void expect_the_same_however_it_runs(const Words& overrides, const std::vector<std::string>& shardings) {
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("one");
    ASSERT_FALSE(expected.empty());
    const ProgramResult stopped = project.run("stopped", {}, signal_at(2, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
    for (const std::string& sharding : shardings) {
        SCOPED_TRACE(sharding);
        expect_same(project.finish(sharding, {"--nproc", "2", "training.sharding=" + sharding}), expected);
    }
}

// All weights, among them one of more than 4096 elements, whose state adamw_8bit keeps in codes.
Words full(const std::string& optimizer) {
    return {"peft=null", "training.determinism=strict", "optimizer=" + optimizer};
}

struct Rule {
    const char* name;
    const char* options;
    bool whole = false;   // does not go with sharding
    bool bf16 = false;    // values of bf16

    Words overrides() const {
        Words all = full(std::string("{name: ") + name + ", " + options + (bf16 ? ", master: bf16}" : "}"));
        if (bf16) all.emplace_back("training.precision=bf16");
        return all;
    }
};

std::string name_of(const testing::TestParamInfo<Rule>& info) {
    return std::string(info.param.name) + (info.param.bf16 ? "_bf16" : "");
}

class EveryOptimizer : public testing::TestWithParam<Rule> {};

TEST_P(EveryOptimizer, AreResumedAndShared) {
    const std::vector<std::string> none = {"none"};
    expect_the_same_however_it_runs(GetParam().overrides(), GetParam().whole ? none : all_shardings);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryOptimizer,
    testing::Values(Rule{"adamw_8bit", "lr: 5e-3, weight_decay: 0.1"}, Rule{"sgd", "lr: 0.1, nesterov: true"},
                    Rule{"lion", "lr: 1e-3, groups: [{match: .*norm.*, lr: 1e-4, weight_decay: 0.1}]"},
                    Rule{"adafactor", "lr: 1e-2, beta1: 0.9, scale_parameter: true", true},
                    Rule{"muon", "lr: 1e-2", true}, Rule{"schedule_free_adamw", "lr: 5e-3"},
                    Rule{"ademamix", "lr: 2e-3, alpha_warmup: 6, beta3_warmup: 6"},
                    Rule{"apollo", "lr: 1e-2, rank: 8, renew_every: 3", true},
                    Rule{"apollo_mini", "lr: 1e-2, renew_every: 1", true},
                    Rule{"adamw", "lr: 5e-3, weight_decay: 0.1", false, true},
                    Rule{"adamw_8bit", "lr: 5e-3", false, true}, Rule{"muon", "lr: 1e-2", true, true},
                    Rule{"apollo", "lr: 1e-2, rank: 8, renew_every: 2", true, true},
                    Rule{"schedule_free_adamw", "lr: 5e-3", false, true}),
    name_of);

std::vector<float> numbers(const SafetensorsFile& file, const FileTensor& tensor) {
    std::vector<float> out(static_cast<std::size_t>(element_count(tensor.shape)));
    file.read(tensor, DType::f32, out.data());
    return out;
}

// The noise that rounds knows parameters and steps, not who updates what.
TEST(ValuesInBf16, AreTheSameOnOneToFourRanks) {
    const Words bf16 = {"training.precision=bf16", "optimizer.master=bf16"};
    for (const Words& trained : {Words{}, Words{"peft={method: lora, rank: 4, dora: true}"},
                                 Words{"peft=null", "training.determinism=strict",
                                       "training.unfrozen_parameters=['model.layers.1', '.*norm']"}}) {
        Words overrides = trained;
        overrides.insert(overrides.end(), bf16.begin(), bf16.end());
        const PromiseProject project(overrides);
        const RunResult expected = project.finish("one");
        ASSERT_FALSE(expected.empty());
        const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
        ASSERT_EQ(stopped.code, 75) << stopped.err;
        expect_same(project.finish("stopped", {"--resume"}), expected);
        for (const char* ranks : {"2", "3", "4"})
            for (const std::string& sharding : all_shardings)
                expect_same(project.finish(ranks + sharding, {"--nproc", ranks, "training.sharding=" + sharding},
                                           {"OMP_NUM_THREADS=3"}),
                            expected);
    }
}

void store_weights_as(FileDType dtype, const std::filesystem::path& path) {
    std::map<std::string, std::vector<float>> values;
    std::vector<TensorToWrite> tensors;
    {
        const SafetensorsFile file(path);
        for (const FileTensor& tensor : file.tensors()) {
            const std::vector<float>& kept = values[tensor.name] = numbers(file, tensor);
            tensors.push_back(tensor_from_f32(tensor.name, tensor.shape, kept.data(), dtype));
        }
    }
    write_safetensors(path, tensors);
}

// The state file holds two bytes a value; the model is saved in the base's dtype, an adapter in f32: the same numbers.
using Saved = std::pair<bool, FileDType>;   // whether it is a full fine-tune, and of a base in what

std::string name_of_saved(const testing::TestParamInfo<Saved>& info) {
    return std::string(info.param.first ? "full_" : "lora_") + (info.param.second == FileDType::bf16 ? "bf16" : "f32");
}

class SavedValuesInBf16 : public testing::TestWithParam<Saved> {};

TEST_P(SavedValuesInBf16, AreWhatTheyAre) {
    const auto [full, base] = GetParam();
    const PromiseProject project({full ? "peft=null" : "peft.rank=4", "training.precision=bf16",
                                  "optimizer.master=bf16", "training.steps=4", "training.epochs=null"});
    store_weights_as(base, project / "model" / "model.safetensors");
    Node config = read_json(project / "model" / "config.json");
    config.set("dtype", base == FileDType::bf16 ? "bfloat16" : "float32");
    put_text(project / "model" / "config.json", to_json(config));
    ASSERT_FALSE(project.finish("run").empty());
    const auto folder = project / "run" / "checkpoint-4";
    const SafetensorsFile state(folder / "optimizer.safetensors");
    const SafetensorsFile model(folder / (full ? "model.safetensors" : "adapter_model.safetensors"));
    std::size_t values = 0;
    for (const FileTensor& tensor : state.tensors()) {
        if (!tensor.name.starts_with("value.")) {
            EXPECT_EQ(tensor.dtype, FileDType::f32) << tensor.name;
            continue;
        }
        ++values;
        EXPECT_EQ(tensor.dtype, FileDType::bf16) << tensor.name;
        const FileTensor& saved = model.at(tensor.name.substr(6));
        EXPECT_EQ(saved.dtype, full ? base : FileDType::f32);
        EXPECT_EQ(numbers(state, tensor), numbers(model, saved)) << tensor.name;
    }
    EXPECT_EQ(values, model.tensors().size());
}

INSTANTIATE_TEST_SUITE_P(All, SavedValuesInBf16,
                         testing::Values(Saved(true, FileDType::f32), Saved(true, FileDType::bf16),
                                         Saved(false, FileDType::f32)),
                         name_of_saved);

double last_loss(const std::filesystem::path& run) {
    double loss = 0;
    for (const std::string& text : metrics_lines(run))
        if (const Node* found = parse_json(text, "metrics").find("eval_loss")) loss = found->as_number();
    return loss;
}

// A full fine-tune in small steps.
TEST(ValuesInBf16, LearnAsThoseInF32) {
    const PromiseProject project({"peft=null", "training.precision=bf16", "training.epochs=12",
                                  "optimizer={name: adamw, lr: 3e-4}", "schedule={name: constant, warmup: 0}",
                                  "checkpoint.every=null"});
    ASSERT_FALSE(project.finish("f32").empty());
    ASSERT_FALSE(project.finish("bf16", {"optimizer.master=bf16"}).empty());
    const double expected = last_loss(project / "f32");
    EXPECT_LT(expected, 7.5);   // from 8.08
    EXPECT_NEAR(last_loss(project / "bf16"), expected, 0.01 * expected);
}

TEST(InBackward, IsResumed) {
    const Words overrides = {"peft=null", "training.batch=4", "training.micro_batch=4", "training.clip_norm=0",
                             "optimizer={name: adamw, lr: 5e-3, in_backward: true}"};
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("straight");
    ASSERT_FALSE(expected.empty());
    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
    expect_same(project.finish("threads", {}, {"OMP_NUM_THREADS=3"}), expected);
    Words verify = {"verify", "resume", "recipe.yaml"};
    verify.insert(verify.end(), overrides.begin(), overrides.end());
    const ProgramResult verified = run_program(verify, project.path());
    EXPECT_EQ(verified.code, 0) << verified.err;
}

TEST(ScheduleFree, SavesWhatItEvaluates) {
    const PromiseProject project(full("{name: schedule_free_adamw, lr: 1e-2}"));
    const auto evaluation = [&](const std::string& output, bool last) {
        std::vector<std::string> losses;
        for (const std::string& text : metrics_lines(project / output)) {
            const Node line = parse_json(text, "metrics");
            if (const Node* loss = line.find("eval_loss")) losses.push_back(to_json(*loss));
        }
        return losses.at(last ? losses.size() - 1 : 0);
    };
    ASSERT_FALSE(project.finish("first").empty());
    ASSERT_FALSE(project.finish("second", {"model.base=first", "training.steps=1", "training.epochs=null"}).empty());
    EXPECT_EQ(evaluation("second", false), evaluation("first", true));
    EXPECT_NE(evaluation("first", false), evaluation("first", true));
}

TEST(Schedules, PlateauIsResumed) {
    expect_the_same_however_it_runs(
        {"schedule={name: reduce_on_plateau, patience: 0, factor: 0.5, threshold: 0.9}", "eval.every=1"},
        {"gradients"});
}

}   // namespace
}   // namespace trainer::test
