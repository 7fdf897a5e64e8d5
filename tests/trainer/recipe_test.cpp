#include "trainer/recipe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "configs/json.h"
#include "configs/yaml.h"
#include "optim/adamw.h"

namespace trainer {
namespace {

const std::string minimal = "model: {base: m}\ndata: {train: {path: t.jsonl}}\noutput: o\n";

Recipe read(const std::string& text) {
    Complaints complaints;
    Recipe recipe = read_recipe(parse_yaml(text, "r.yaml"), complaints);
    complaints.raise();
    return recipe;
}

TEST(Recipe, Defaults) {
    const Recipe recipe = read(minimal);
    EXPECT_EQ(to_yaml(resolved(recipe)), R"(device: auto
model:
  base: m
  revision: main
  hub_id: null
  dtype: null
  quantize: none
  config: {}
task: sft
data:
  train:
    path: t.jsonl
    format: messages
    weight: 1.0
  valid: null
  template: tokenizer
  system: null
  eos_token: null
  train_on: assistant
  max_length: 1024
  overlong: truncate
  packing: true
  drop_last: false
  on_bad_row: stop
peft: null
training:
  steps: 200
  epochs: null
  batch: 32
  micro_batch: 8
  precision: bf16
  loss_scale: null
  tf32: false
  recompute: none
  offload: none
  mlp_chunk: null
  clip_norm: 1.0
  determinism: auto
  sharding: none
  unfrozen_parameters: []
  nonfinite_steps: 3
  seed: 42
optimizer:
  name: adamw
  lr: 0.0002
  weight_decay: 0.0
  betas: [0.9, 0.999]
  eps: 1e-08
  groups: []
  master: f32
  in_backward: false
schedule:
  name: cosine
  warmup: 0.03
  cycles: 1
  min_lr_ratio: 0.1
eval:
  every: 50
  batch: null
  patience: null
checkpoint:
  every: 50
  keep: 2
  best: true
logging:
  every: 1
output: o
)");
    EXPECT_TRUE(recipe.warnings.empty());
}

TEST(Recipe, ValuesInTheirSeveralSpellings) {
    const Recipe one = read(minimal + "peft: {}\neval: {every: epoch}\n");
    ASSERT_TRUE(one.peft);
    EXPECT_EQ(one.peft->adapter.targets.pattern, "all-linear");
    EXPECT_EQ(one.eval.every, (Interval{Interval::Unit::epoch, 1}));

    const Recipe two = read(R"(
model: {base: m, dtype: f16, hub_id: a/b, config: {rope_theta: 1e4}}
data:
  train: [{path: a, weight: 2}, {path: b, format: text}]
  valid: {news: {path: c}, code: {path: d, format: prompt_completion}}
  packing: {strategy: best_fit}
  template: x.jinja
  train_on: last
peft: {targets: [q_proj, v_proj], rank: 4, alpha: 8, dropout: 0.1}
training: {epochs: 0.5, batch: 3}
optimizer: {lr: 1e-3, betas: [0.8, 0.9]}
schedule: {name: linear, warmup: 10}
eval: {every: 0.25, batch: 2}
output: o
)");
    EXPECT_EQ(two.model.dtype, DType::f16);
    EXPECT_EQ(two.model.config.at("rope_theta").as_number(), 1e4);
    ASSERT_EQ(two.data.train.size(), 2u);
    EXPECT_EQ(two.data.train[0].weight, 2);
    EXPECT_EQ(two.data.train[1].format, "text");
    ASSERT_EQ(two.data.valid.size(), 2u);
    EXPECT_EQ(two.data.valid[1].name, "code");
    EXPECT_EQ(two.data.valid[1].path, "d");
    EXPECT_EQ(two.data.packing, PackingStrategy::best_fit);
    EXPECT_EQ(two.peft->adapter.targets.names, (std::vector<std::string>{"q_proj", "v_proj"}));
    EXPECT_FALSE(two.training.steps);
    EXPECT_EQ(two.training.epochs, 0.5);
    EXPECT_EQ(two.training.micro_batch.rows, 3);   // at most batch
    EXPECT_EQ(two.optimizer.rule.as<AdamWOptions>().betas[0], 0.8);
    EXPECT_EQ(two.schedule.name, ScheduleKind::linear);
    EXPECT_EQ(two.eval.every, (Interval{Interval::Unit::fraction, 0.25}));

    for (const Recipe& recipe : {one, two}) {
        const Node node = resolved(recipe);
        EXPECT_EQ(resolved(read(to_yaml(node))), node);
    }
    EXPECT_EQ(read(minimal + "peft:\n").peft.has_value(), false);
    EXPECT_EQ(read("model: {base: m}\ndata: {train: {path: t}, packing: false}\noutput: o\n").data.packing,
              PackingStrategy::none);
}

TEST(Recipe, Warnings) {
    const Recipe recipe =
        read("model: {base: m}\noutput: o\ndata:\n  train: [{path: a}, {path: ./a}]\n  valid: {path: x/../a}\n");
    EXPECT_EQ(recipe.warnings,
              (std::vector<std::string>{
                  "r.yaml:5:10: data.valid: x/../a is trained on too; its loss says nothing about new text",
                  "r.yaml:4:10: data.train: ./a is listed twice; a weight says the same"}));
    EXPECT_EQ(read(minimal + "eval: {every: 5}\n").warnings,
              std::vector<std::string>{"r.yaml:4:7: eval: there is no data.valid, so nothing is evaluated"});
}

class RecipeFile : public testing::Test {
protected:
    void SetUp() override {
        path_ = std::filesystem::temp_directory_path() / ("recipe_test_" + std::to_string(::getpid()) + ".yaml");
        std::ofstream(path_) << minimal;
    }
    void TearDown() override { std::filesystem::remove(path_); }

    std::filesystem::path path_;
};

TEST_F(RecipeFile, OverridesWinAndAreChecked) {
    EXPECT_EQ(load_recipe(path_, {"training.steps=7", "data.train.path=x"}).training.steps, 7);
    try {
        load_recipe(path_, {"nonsense", "training.step=7", "peft.rank=-1"});
        FAIL();
    } catch (const Errors& errors) {
        EXPECT_EQ(errors.code(), Exit::usage);
        EXPECT_STREQ(
            errors.what(),
            "command line: nonsense: expected key=value\n"
            "command line: peft.rank=-1: peft.rank: expected an integer from 1 to 65536, found the integer -1\n"
            "command line: training.step=7: training.step: unknown key; did you mean steps?");
    }
}

TEST_F(RecipeFile, MissingFile) {
    try {
        load_recipe("/nowhere/recipe.yaml");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::no_input);
    }
}

TEST_F(RecipeFile, TakesNoTime) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 10; ++i) load_recipe(path_);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    EXPECT_LT(taken.count() / 10, 0.05);
}

TEST(Recipe, OursAreValidAndComeBackEqual) {
    int count = 0;
    for (const auto& file : std::filesystem::directory_iterator(TRAINER_SOURCE_DIR "/recipes")) {
        if (file.path().extension() != ".yaml") continue;
        const Recipe recipe = load_recipe(file.path());
        EXPECT_TRUE(recipe.warnings.empty()) << file.path();
        const Node node = resolved(recipe);
        EXPECT_EQ(resolved(read(to_yaml(node))), node) << file.path();
        ++count;
    }
    EXPECT_GE(count, 3);
}

// Every key of the resolved recipe is in the schema with its description, and nothing else is allowed.
void expect_described(const Node& value, const Node& schema, const std::string& path) {
    if (const Node* choices = schema.find("anyOf")) {   // the one of this name
        for (const Node& choice : choices->as_list())
            if (choice.at("properties").at("name").at("const") == value.at("name"))
                return expect_described(value, choice, path);
        FAIL() << path << " has no schema for " << value.at("name").as_string();
    }
    EXPECT_FALSE(schema.at("additionalProperties").as_bool()) << path;
    ASSERT_EQ(schema.at("properties").size(), value.size()) << path;
    for (const Node::Entry& entry : value.as_map()) {
        const Node& inner = schema.at("properties").at(entry.key);
        EXPECT_FALSE(inner.at("description").as_string().empty()) << path << entry.key;
        if (inner.contains("properties") || entry.key == "schedule" || entry.key == "optimizer")
            expect_described(entry.value, inner, path + entry.key + ".");
    }
}

TEST(Recipe, SchemaDescribesEveryKey) {
    const Node schema = recipe_schema();
    EXPECT_EQ(schema.at("$schema").as_string(), "https://json-schema.org/draft/2020-12/schema");
    EXPECT_EQ(to_json(schema.at("required")), R"(["model", "data", "output"])");
    expect_described(resolved(read(minimal)), schema, "");
    for (const std::string& name : ScheduleOptions::choices())
        expect_described(resolved(read("model: {base: m}\ndata: {train: {path: t}, valid: {path: v}}\noutput: o\n"
                                       "schedule: {name: " +
                                       name + "}\n")),
                         schema, "");
    for (const std::string& name : OptimizerOptions::choices())
        expect_described(resolved(read(minimal + "optimizer: {name: " + name + "}\n")), schema, "");
    for (const Node& schedule : schema.at("properties").at("schedule").at("anyOf").as_list())   // cosine is the default
        EXPECT_NE(schedule.contains("required"), schedule.at("properties").at("name").contains("default"));
}

TEST(Recipe, ExplanationNamesEveryKey) {
    const std::string text = explain_recipe();
    for (const char* line :
         {"data.train.weight ", "training.micro_batch ", "peft.targets ", "optimizer.betas ", "output "})
        EXPECT_NE(text.find(std::string("\n") + line), std::string::npos) << line;
    EXPECT_NE(text.find("an integer from 1 to 65536; default 16\n"), std::string::npos);
}

TEST(Recipe, RandomDamageGivesSentences) {
    std::mt19937_64 random(3);
    const std::string whole = to_yaml(resolved(read(minimal + "peft: {}\n")));
    int refused = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string text = whole;
        for (std::uint64_t i = 1 + random() % 4; i > 0; --i) {
            const std::size_t at = random() % text.size();
            if (random() % 2)
                text.erase(at, 1 + random() % 9);
            else
                text.insert(at, 1, " :-[]{}019ae\n"[random() % 13]);
        }
        try {
            read(text);
        } catch (const Error& error) {
            ++refused;
            if (error.code() == Exit::no_input) {   // peft.continue_from became the name of something
                ASSERT_NE(std::string(error.what()).find("no such adapter folder"), std::string::npos);
                continue;
            }
            ASSERT_EQ(error.code(), Exit::bad_recipe);
            ASSERT_EQ(std::string(error.what()).substr(0, 6), "r.yaml") << text;
        }
    }
    EXPECT_GT(refused, 1500);
}

}   // namespace
}   // namespace trainer
