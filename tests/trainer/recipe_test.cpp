#include "trainer/recipe.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>

#include "configs/json.h"
#include "configs/yaml.h"

namespace trainer {
namespace {

const std::string minimal = "model: {base: m}\ndata: {train: {path: t.jsonl}}\noutput: o\n";

Recipe read(const std::string& text) {
    Complaints complaints;
    Recipe recipe = read_recipe(parse_yaml(text, "r.yaml"), complaints);
    complaints.raise();
    return recipe;
}

std::string complaints_of(const std::string& text) {
    try {
        read(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_recipe) << text;
        return error.what();
    }
    return "no error";
}

TEST(Recipe, Defaults) {
    const Recipe recipe = read(minimal);
    EXPECT_EQ(to_yaml(resolved(recipe)), R"(device: auto
model:
  base: m
  revision: main
  hub_id: null
  dtype: null
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
  recompute: none
  clip_norm: 1.0
  determinism: auto
  seed: 42
optimizer:
  name: adamw
  lr: 0.0002
  weight_decay: 0.0
  betas: [0.9, 0.999]
  eps: 1e-08
schedule:
  name: cosine
  warmup: 0.03
  min_lr_ratio: 0.1
eval:
  every: 50
  batch: null
logging:
  every: 1
output: o
)");
    EXPECT_TRUE(recipe.warnings.empty());
}

TEST(Recipe, ValuesInTheirSeveralSpellings) {
    const Recipe one = read(minimal + "peft: {}\neval: {every: epoch}\n");
    ASSERT_TRUE(one.peft);
    EXPECT_EQ(one.peft->lora.targets.pattern, "all-linear");
    EXPECT_EQ(one.eval.every, (EvalEvery{EvalEvery::Unit::epoch, 1}));

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
    EXPECT_EQ(two.peft->lora.targets.names, (std::vector<std::string>{"q_proj", "v_proj"}));
    EXPECT_FALSE(two.training.steps);
    EXPECT_EQ(two.training.epochs, 0.5);
    EXPECT_EQ(two.training.micro_batch, 3);   // at most batch
    EXPECT_EQ(two.optimizer.adamw.betas[0], 0.8);
    EXPECT_EQ(two.schedule.name, ScheduleKind::linear);
    EXPECT_EQ(two.eval.every, (EvalEvery{EvalEvery::Unit::fraction, 0.25}));

    for (const Recipe& recipe : {one, two}) {
        const Node node = resolved(recipe);
        EXPECT_EQ(resolved(read(to_yaml(node))), node);
    }
    EXPECT_EQ(read(minimal + "peft:\n").peft.has_value(), false);
    EXPECT_EQ(read("model: {base: m}\ndata: {train: {path: t}, packing: false}\noutput: o\n").data.packing,
              PackingStrategy::none);
}

TEST(Recipe, Mistakes) {
    const std::string base = "model: {base: m}\noutput: o\n";
    const std::string data = "data: {train: {path: t}}\n";
    const std::pair<std::string, std::string> cases[] = {
        {minimal + "device: cuda", "4:9: device: cuda is not available in this version; expected auto or cpu"},
        {minimal + "device: gpu", "4:9: device: expected auto or cpu, found the string \"gpu\"; did you mean cpu?"},
        {minimal + "task: dpo", "4:7: task: dpo is not available in this version; expected sft"},
        {minimal + "task: [sft]", "4:7: task: expected sft, found a list"},
        {minimal + "otput: x", "4:1: otput: unknown key; did you mean output?"},
        {minimal + "checkpoint: {every: 5}", "4:1: checkpoint: not available in this version; leave the section out"},
        {minimal + "training: 3", "4:11: training: expected a map, found the integer 3"},
        {minimal + "training: {step: 3}", "4:12: training.step: unknown key; did you mean steps?"},
        {minimal + "training: {steps: 0}",
         "4:19: training.steps: expected an integer from 1 to 1000000000, found the integer 0"},
        {minimal + "training: {steps: ten}",
         "4:19: training.steps: expected an integer from 1 to 1000000000, found the string \"ten\""},
        {minimal + "training: {epochs: 0}",
         "4:20: training.epochs: expected a number above 0 and at most 1000000, found the integer 0"},
        {minimal + "training: {steps: 3, epochs: 1}",
         "4:30: training.epochs: steps and epochs are both given; keep one of them (steps stands at r.yaml:4:19)"},
        {minimal + "training: {batch: 4, micro_batch: 8}",
         "4:35: training.micro_batch: expected at most batch, which is 4, found 8"},
        {minimal + "training: {micro_batch: auto}",
         "4:25: training.micro_batch: auto is not available in this version; expected an integer from 1 to 1000000"},
        {minimal + "training: {precision: f16}",
         "4:23: training.precision: f16 is not available in this version; expected f32 or bf16"},
        {minimal + "training: {precision: fp32}",
         "4:23: training.precision: expected f32 or bf16, found the string \"fp32\"; did you mean f32?"},
        {minimal + "training: {recompute: true}", "4:23: training.recompute: expected none or block, found true"},
        {minimal + "training: {offload: none}",
         "4:12: training.offload: not available in this version; leave the key out"},
        {minimal + "training: {grad_dtype: bf16}",
         "4:12: training.grad_dtype: not available in this version; gradients are f32"},
        {minimal + "training: {clip_norm: -1}",
         "4:23: training.clip_norm: expected a number of at least 0, found the integer -1"},
        {minimal + "training: {seed: 1.5}",
         "4:18: training.seed: expected an integer of at least 0, found the number 1.5"},
        {minimal + "training: {determinism: fast}",
         "4:25: training.determinism: fast is not available in this version; expected auto, strict or repeatable"},
        {minimal + "optimizer: {name: adam}",
         "4:19: optimizer.name: expected adamw, found the string \"adam\"; did you mean adamw?"},
        {minimal + "optimizer: {lr: 0}", "4:17: optimizer.lr: expected a number above 0, found the integer 0"},
        {minimal + "optimizer: {lr: 1e-4x}",
         "4:17: optimizer.lr: expected a number above 0, found the string \"1e-4x\""},
        {minimal + "optimizer: {betas: [0.9, 1.0]}",
         "4:26: optimizer.betas.1: expected a number from 0 to below 1, found the number 1"},
        {minimal + "optimizer: {state: f32}",
         "4:13: optimizer.state: not available in this version; the optimizer's state is f32"},
        {minimal + "schedule: {name: cosin}",
         "4:18: schedule.name: expected constant, linear or cosine, found the string \"cosin\"; did you mean cosine?"},
        {minimal + "schedule: {warmup: -0.1}",
         "4:20: schedule.warmup: expected a number of at least 0, found the number -0.1"},
        {minimal + "schedule: {warmup: 1.5}",
         "4:20: schedule.warmup: expected a whole number of steps or a fraction below 1, found 1.5"},
        {minimal + "schedule: {warmup: 300}",
         "4:20: schedule.warmup: a warm-up of 300 steps is longer than the run of 200"},
        {minimal + "schedule: {min_lr_ratio: 2}",
         "4:26: schedule.min_lr_ratio: expected a number from 0 to 1, found the integer 2"},
        {minimal + "eval: {every: 0}",
         "4:15: eval.every: expected a number of steps, \"epoch\", or a fraction below 1, found the integer 0"},
        {minimal + "eval: {every: 1.5}",
         "4:15: eval.every: expected a number of steps, \"epoch\", or a fraction below 1, found the number 1.5"},
        {minimal + "logging: {every: 0}",
         "4:18: logging.every: expected an integer of at least 1, found the integer 0"},
        {minimal + "peft: lora", "4:7: peft: expected a map, found the string \"lora\""},
        {minimal + "peft: {method: dora}",
         "4:16: peft.method: expected lora, found the string \"dora\"; did you mean lora?"},
        {minimal + "peft: {rank: 0}", "4:14: peft.rank: expected an integer from 1 to 65536, found the integer 0"},
        {minimal + "peft: {alpha: 0}", "4:15: peft.alpha: expected a number above 0, found the integer 0"},
        {minimal + "peft: {dropout: 1}",
         "4:17: peft.dropout: expected a number from 0 to below 1, found the integer 1"},
        {minimal + "peft: {targets: []}", "4:17: peft.targets: expected at least one item, found an empty list"},
        {minimal + "peft: {targets: 3}",
         "4:17: peft.targets: expected all-linear, a list of module names, or a regular expression, found the integer "
         "3"},
        {minimal + "peft: {targets: [q_proj, 3]}",
         "4:26: peft.targets.1: expected a string that is not empty (in quotes), found the integer 3"},
        {base, "1:1: data.train: this key is required (what is trained on)"},
        {base + "data: {trian: {path: t}}", "3:7: data.train: this key is required (what is trained on)"},
        {base + "data: {train: t.jsonl}",
         "3:15: data.train: expected a source {path, format, weight} or a list of them, found the string \"t.jsonl\""},
        {base + "data: {train: []}",
         "3:15: data.train: expected a source {path, format, weight} or a list of them, found an empty list"},
        {base + "data: {train: [{path: t}, 3]}", "3:27: data.train.1: expected a map, found the integer 3"},
        {base + "data: {train: {path: t, weight: 0}}",
         "3:33: data.train.weight: expected a number above 0 and at most 1000, found the integer 0"},
        {base + "data: {train: {path: t, format: mesages}}",
         "3:33: data.train.format: expected messages, prompt_completion or text, found the string \"mesages\"; did you "
         "mean messages?"},
        {base + "data: {train: {format: text}}",
         "3:15: data.train.path: this key is required (the file, relative to the working directory)"},
        {base + "data: {train: {path: t}, valid: v}",
         "3:33: data.valid: expected a source {path, format}, or names with a source each, found the string \"v\""},
        {base + "data: {train: {path: t}, valid: {path: v, weight: 2}}",
         "3:43: data.valid.weight: unknown key; valid keys: path, format"},
        {base + "data: {train: {path: t}, valid: {'a b': {path: v}}}",
         "3:34: data.valid: expected a name of letters, digits, '_' and '-' (it becomes part of eval_NAME_loss), found "
         "\"a b\""},
        {base + "data: {train: {path: t}, packing: {strategy: wrapped}}",
         "3:46: data.packing.strategy: wrapped is not available in this version; expected best_fit"},
        {base + "data: {train: {path: t}, packing: 1}",
         "3:35: data.packing: expected true, false or {strategy: best_fit}, found the integer 1"},
        {base + "data: {train: {path: t}, template: chatml}",
         "3:36: data.template: expected tokenizer or the path of a .jinja file, found the string \"chatml\""},
        {base + "data: {train: {path: t}, max_length: 1}",
         "3:38: data.max_length: expected an integer from 2 to 10000000, found the integer 1"},
        {base + "data: {train: {path: t}, overlong: cut}",
         "3:36: data.overlong: expected truncate, drop or error, found the string \"cut\""},
        {"output: o\n" + data, "1:1: model.base: this key is required (hub id, model folder, or .gguf file)"},
        {"model:\noutput: o\n" + data, "1:1: model.base: this key is required (hub id, model folder, or .gguf file)"},
        {"model: m\noutput: o\n" + data, "1:8: model: expected a map, found the string \"m\""},
        {"model: {base: 3}\noutput: o\n" + data,
         "1:15: model.base: expected a string that is not empty (in quotes), found the integer 3"},
        {"model: {base: m, quantize: nf4}\noutput: o\n" + data,
         "1:18: model.quantize: not available in this version; leave the key out"},
        {"model: {base: m, dtype: f8}\noutput: o\n" + data,
         "1:25: model.dtype: expected f32, bf16 or f16, found the string \"f8\"; did you mean f32?"},
        {"model: {base: m, config: 3}\noutput: o\n" + data, "1:26: model.config: expected a map, found the integer 3"},
        {"model: {base: ./m}\noutput: m\n" + data, "2:9: output: this is the model's own path; choose another folder"},
        {"model: {base: m}\noutput:\n" + data,
         "2:1: output: expected a string that is not empty, found nothing (null)"},
    };
    int counted = 0;
    for (const auto& [text, message] : cases) {
        const std::string found = complaints_of(text + "\n");
        EXPECT_EQ(found.substr(0, found.find('\n')), "r.yaml:" + message) << text;
        ++counted;
    }
    EXPECT_GE(counted, 60);
}

TEST(Recipe, AllMistakesInOnePass) {
    EXPECT_EQ(
        complaints_of("model: {bas: x}\ndata: {train: {path: 3}}\ntraining: {steps: 3, epochs: 2}\npeft: {rank: x}\n"),
        "r.yaml:1:1: output: this key is required (the folder of the run)\n"
        "r.yaml:1:8: model.base: this key is required (hub id, model folder, or .gguf file)\n"
        "r.yaml:1:9: model.bas: unknown key; did you mean base?\n"
        "r.yaml:2:22: data.train.path: expected a string that is not empty (in quotes), found the integer 3\n"
        "r.yaml:3:30: training.epochs: steps and epochs are both given; keep one of them (steps stands at "
        "r.yaml:3:19)\n"
        "r.yaml:4:14: peft.rank: expected an integer from 1 to 65536, found the string \"x\"");
    EXPECT_EQ(complaints_of(""),
              "r.yaml: model.base: this key is required (hub id, model folder, or .gguf file)\n"
              "r.yaml: data.train: this key is required (what is trained on)\n"
              "r.yaml: output: this key is required (the folder of the run)");
    EXPECT_EQ(complaints_of("- a\n"), "r.yaml:1:1: expected a map, found a list");
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
    EXPECT_FALSE(schema.at("additionalProperties").as_bool()) << path;
    ASSERT_EQ(schema.at("properties").size(), value.size()) << path;
    for (const Node::Entry& entry : value.as_map()) {
        const Node& inner = schema.at("properties").at(entry.key);
        EXPECT_FALSE(inner.at("description").as_string().empty()) << path << entry.key;
        if (inner.contains("properties")) expect_described(entry.value, inner, path + entry.key + ".");
    }
}

TEST(Recipe, SchemaDescribesEveryKey) {
    const Node schema = recipe_schema();
    EXPECT_EQ(schema.at("$schema").as_string(), "https://json-schema.org/draft/2020-12/schema");
    EXPECT_EQ(to_json(schema.at("required")), R"(["model", "data", "output"])");
    EXPECT_FALSE(schema.at("properties").contains("checkpoint"));
    expect_described(resolved(read(minimal)), schema, "");
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
            ASSERT_EQ(error.code(), Exit::bad_recipe);
            ASSERT_EQ(std::string(error.what()).substr(0, 6), "r.yaml") << text;
        }
    }
    EXPECT_GT(refused, 1500);
}

}   // namespace
}   // namespace trainer
