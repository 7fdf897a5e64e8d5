#include "tests/trainer/training.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "comm/solo.h"
#include "configs/json.h"
#include "trainer/identity.h"

namespace trainer::test {

TinyProject::TinyProject(int rows, const TinyShape& shape) {
    write_tiny_model(path() / "model", shape);
    put_text(path() / "train.jsonl", tiny_chats(rows));
    put_text(path() / "valid.jsonl", tiny_chats(5, 9));
}

Inputs TinyProject::inputs(const std::vector<std::string>& overrides, const std::string& output) const {
    const std::string root = path().string() + "/";
    put_text(root + "recipe.yaml", "model: {base: " + root + "model}\n" + "data: {train: {path: " + root +
                                       "train.jsonl}, valid: {path: " + root +
                                       "valid.jsonl}, max_length: 256, packing: false}\n"
                                       "peft: {method: lora, rank: 4, alpha: 8, dropout: 0.3}\n"
                                       "training: {steps: 6, batch: 4, micro_batch: 2, precision: f32}\n"
                                       "optimizer: {lr: 5e-3, weight_decay: 0.1}\n"
                                       "schedule: {warmup: 1}\n"
                                       "output: " +
                                       root + output + "\n");
    return check_inputs(load_recipe(root + "recipe.yaml", overrides), [] {});
}

FinishedRun TinyProject::run(const std::vector<std::string>& overrides) {
    ++runs_;
    const Inputs made = inputs(overrides, last_output().filename().string());
    OutputFolder output(made.recipe.output);
    FinishedRun finished;
    const auto ranks = make_solo();
    const MemoryPlan plan = plan_memory(made, *ranks);
    finished.planned_bytes = plan.total();
    finished.planned_offloaded = plan.use.peak_offloaded();
    reset_memory_peak(Place::cpu());
    {
        output.open();
        const auto path = make_host_path(*ranks, Place::cpu());
        Trainer trainer(made, *path, &output, identity_of(made), finished.planned_offloaded);
        finished.outcome = trainer.run();
    }
    for (Node& line : json_lines(get_text(output.path() / "metrics.jsonl")))
        (line.contains("loss") ? finished.steps : finished.evaluations).push_back(std::move(line));
    const std::string name = made.recipe.peft ? made.recipe.peft->adapter.name : "default";
    finished.weights = get_text(output.path() / (name == "default" ? "" : name) /
                                (made.recipe.peft ? "adapter_model.safetensors" : "model.safetensors"));
    EXPECT_FALSE(finished.weights.empty());
    return finished;
}

void expect_equal_bits(const FinishedRun& a, const FinishedRun& b) {
    ASSERT_EQ(a.steps.size(), b.steps.size());
    for (std::size_t i = 0; i < a.steps.size(); ++i)
        for (const char* key : {"loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy"})
            EXPECT_EQ(a.steps[i].at(key).as_number(), b.steps[i].at(key).as_number()) << key << " of step " << i + 1;
    for (std::size_t i = 0; i < a.evaluations.size(); ++i)
        EXPECT_EQ(a.evaluations[i].at("eval_loss").as_number(), b.evaluations[i].at("eval_loss").as_number());
    EXPECT_TRUE(a.weights == b.weights) << "the weights differ";
}

void expect_close(const FinishedRun& a, const FinishedRun& b, double bound) {
    ASSERT_EQ(a.steps.size(), b.steps.size());
    for (std::size_t i = 0; i < a.steps.size(); ++i)
        for (const char* key : {"loss", "grad_norm"}) {
            const double expected = a.steps[i].at(key).as_number();
            EXPECT_NEAR(b.steps[i].at(key).as_number(), expected, bound * std::abs(expected))
                << key << " of step " << i + 1;
        }
}

std::vector<Node> json_lines(const std::string& text) {
    std::vector<Node> nodes;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) nodes.push_back(parse_json(line, "output"));
    return nodes;
}

std::vector<std::string> keys_of(const Node& map) {
    std::vector<std::string> keys;
    for (const Node::Entry& entry : map.as_map()) keys.push_back(entry.key);
    return keys;
}

}   // namespace trainer::test
