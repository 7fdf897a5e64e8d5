// What a run promises: the same bits, equal results within bounds, files that can be used.
#include <gmock/gmock.h>
#include <omp.h>

#include "comm/solo.h"
#include "configs/json.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"
#include "trainer/identity.h"

namespace trainer::test {
namespace {

using ::testing::ElementsAre;

// Puts the number of threads back at the end.
class Threads {
public:
    Threads() : before_(omp_get_max_threads()) {}
    ~Threads() { omp_set_num_threads(before_); }

private:
    int before_;
};

TEST(Run, TwiceTheSameBits) {
    TinyProject project;
    const FinishedRun one = project.run();
    const FinishedRun other = project.run();
    EXPECT_EQ(one.steps.size(), 6u);
    EXPECT_NE(one.steps[0].at("loss").as_number(), one.steps[5].at("loss").as_number());
    expect_equal_bits(one, other);
}

TEST(Run, AnotherSeedGivesOtherBits) {
    TinyProject project;
    EXPECT_FALSE(project.run().weights == project.run({"training.seed=7"}).weights);
}

TEST(Run, ThreadsChangeNoBit) {
    const Threads restore;
    TinyProject project;
    for (const char* precision : {"training.precision=f32", "training.precision=bf16"}) {
        omp_set_num_threads(1);
        const FinishedRun alone = project.run({precision});
        for (const int threads : {2, 3, 5, 16}) {
            SCOPED_TRACE(std::string(precision) + " with " + std::to_string(threads) + " threads");
            omp_set_num_threads(threads);
            expect_equal_bits(alone, project.run({precision}));
        }
    }
}

TEST(Run, ThreadsChangeNoBitOfFullFineTuning) {
    const Threads restore;
    TinyProject project;
    omp_set_num_threads(1);
    const FinishedRun alone = project.run({"peft=null"});
    omp_set_num_threads(5);
    expect_equal_bits(alone, project.run({"peft=null"}));
}

TEST(Run, RecomputeChangesNoBit) {
    TinyProject project;
    for (const char* precision : {"training.precision=f32", "training.precision=bf16"})
        for (const char* packing : {"data.packing=false", "data.packing=true"}) {
            SCOPED_TRACE(std::string(precision) + " " + packing);
            const FinishedRun kept = project.run({precision, packing, "training.steps=3"});
            for (const char* recompute : {"training.recompute=norms", "training.recompute=block"})
                expect_equal_bits(kept, project.run({precision, packing, "training.steps=3", recompute}));
        }
}

// Within the bounds of another order of sums; the parts are equal to themselves in bits however they are computed.
TEST(Run, ChunksOfTheFeedForwardLayerAreClose) {
    const Threads restore;
    TinyProject project;
    for (const char* peft :
         {"peft.dropout=0.3", "peft={method: dora, rank: 4, dropout: 0.2}", "peft={method: ia3}", "peft=null"}) {
        SCOPED_TRACE(peft);
        const FinishedRun whole = project.run({peft, "training.steps=4"});
        for (const char* chunk : {"training.mlp_chunk=1", "training.mlp_chunk=7", "training.mlp_chunk=64"})
            expect_close(whole, project.run({peft, "training.steps=4", chunk}), 1e-5);
        expect_close(whole, project.run({peft, "training.steps=4", "training.mlp_chunk=100000"}), 0);
        const FinishedRun chunked = project.run({peft, "training.steps=4", "training.mlp_chunk=13"});
        for (const char* recompute : {"training.recompute=norms", "training.recompute=block"})
            expect_equal_bits(chunked, project.run({peft, "training.steps=4", "training.mlp_chunk=13", recompute}));
        omp_set_num_threads(3);
        expect_equal_bits(chunked, project.run({peft, "training.steps=4", "training.mlp_chunk=13"}));
        omp_set_num_threads(1);
    }
}

TEST(Run, OffloadingChangesNoBit) {
    TinyProject project;
    for (const char* precision : {"training.precision=f32", "training.precision=bf16"})
        for (const char* peft : {"peft.dropout=0.3", "peft=null"}) {
            const FinishedRun kept = project.run({precision, peft, "checkpoint.every=2"});
            expect_equal_bits(kept, project.run({precision, peft, "checkpoint.every=2", "training.offload=optimizer"}));
            expect_equal_bits(kept, project.run({precision, peft, "checkpoint.every=2", "training.recompute=block",
                                                 "training.offload=activations"}));
        }
}

TEST(Run, OffloadingChangesNoBitOfAnyOptimizer) {
    TinyProject project;
    for (const char* name : {"adamw_8bit", "sgd", "lion", "adafactor", "muon", "schedule_free_adamw"}) {
        SCOPED_TRACE(name);
        const std::string optimizer = std::string("optimizer={name: ") + name + "}";
        const FinishedRun kept = project.run({"peft=null", "training.steps=3", optimizer});
        expect_equal_bits(kept,
                          project.run({"peft=null", "training.steps=3", optimizer, "training.offload=optimizer"}));
    }
}

TEST(Run, AccumulationIsABiggerBatch) {
    TinyProject project;
    const FinishedRun whole = project.run({"training.micro_batch=4"});
    expect_close(whole, project.run({"training.micro_batch=1"}), 1e-5);
    expect_close(whole, project.run({"training.micro_batch=3"}), 1e-5);
}

// Every step covers all rows, so that it holds the same documents either way.
TEST(Run, PackingChangesNothing) {
    TinyProject project;
    const std::vector<std::string> all = {"training.batch=16", "training.micro_batch=16", "training.steps=4"};
    auto packed = all;
    packed.push_back("data.packing=true");
    expect_close(project.run(all), project.run(packed), 1e-5);
}

TEST(Run, FullFineTuningIsSavedAsAModel) {
    TinyProject project;
    const FinishedRun first = project.run({"peft=null"});
    const auto model = project.last_output();
    const FinishedRun second = project.run({"peft=null", "model.base=" + model.string(), "training.steps=1"});
    ASSERT_EQ(first.evaluations.size(), 2u);
    EXPECT_LT(first.evaluations[1].at("eval_loss").as_number(), first.evaluations[0].at("eval_loss").as_number());
    EXPECT_EQ(second.evaluations[0].at("eval_loss").as_number(), first.evaluations[1].at("eval_loss").as_number());
}

// Whoever generates with the saved model must stop at the recipe's end of text: transformers reads eos_token_id of
// generation_config.json, else of config.json; any of a list counts.
class SavedEnd : public ::testing::Test {
protected:
    TinyProject project;   // <|im_end|> (260) ends the model's texts
    std::filesystem::path base() const { return project.path() / "model"; }
    void set(const char* file, const char* key, Node value) const {
        Node document = std::filesystem::exists(base() / file) ? read_json(base() / file) : Node::map();
        document.set(key, std::move(value));
        put_text(base() / file, to_json(document));
    }
    Node saved(const char* file) const { return read_json(project.last_output() / file); }
    void run() {
        project.run({"peft=null", "training.steps=1", "data.eos_token=<|endoftext|>", "data.valid=null"});   // 258
    }
};

TEST_F(SavedEnd, IsInEveryConfig) {
    set("generation_config.json", "eos_token_id", 260);
    set("special_tokens_map.json", "eos_token", "<|im_end|>");
    run();
    EXPECT_EQ(saved("config.json").at("eos_token_id"), Node(258));
    EXPECT_EQ(saved("generation_config.json").at("eos_token_id"), Node(Node::List{258, 260}));
    EXPECT_EQ(saved("tokenizer_config.json").at("eos_token"), Node("<|endoftext|>"));
    EXPECT_EQ(saved("special_tokens_map.json").at("eos_token"), Node("<|endoftext|>"));
}

TEST_F(SavedEnd, JoinsAList) {
    set("config.json", "eos_token_id", Node(Node::List{260, 1}));
    set("generation_config.json", "eos_token_id", Node(Node::List{260, 258}));
    run();
    EXPECT_EQ(saved("config.json").at("eos_token_id"), Node(Node::List{258, 260, 1}));
    EXPECT_EQ(saved("generation_config.json").at("eos_token_id"), Node(Node::List{260, 258}));   // it is one of them
}

TEST_F(SavedEnd, MakesNoFileThatWasNotThere) {
    set("generation_config.json", "max_length", 99);
    run();
    EXPECT_EQ(saved("generation_config.json").at("eos_token_id"), Node(258));
    EXPECT_FALSE(std::filesystem::exists(project.last_output() / "special_tokens_map.json"));
    std::filesystem::remove(base() / "generation_config.json");
    run();
    EXPECT_FALSE(std::filesystem::exists(project.last_output() / "generation_config.json"));
    EXPECT_EQ(saved("config.json").at("eos_token_id"), Node(258));
}

TEST_F(SavedEnd, StaysTheBasesWithoutOne) {
    set("generation_config.json", "eos_token_id", 260);
    project.run({"peft=null", "training.steps=1"});
    EXPECT_EQ(saved("config.json").at("eos_token_id"), Node(260));
    EXPECT_EQ(saved("generation_config.json").at("eos_token_id"), Node(260));
}

TEST(Run, TheAdapterAnswersWhatItLearned) {
    TinyProject project;
    put_text(
        project.path() / "train.jsonl",
        R"({"messages": [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "ate the blue"}]})"
        "\n");
    const FinishedRun run = project.run({"training.steps=120", "training.batch=1", "training.micro_batch=1",
                                         "peft.dropout=0", "peft.rank=8", "optimizer.lr=2e-2", "data.valid=null"});
    EXPECT_LT(run.steps.back().at("loss").as_number(), 0.5);
    const ProgramResult answer = run_program({"generate", "model", "--adapter", project.last_output().string(),
                                              "--message", "the cat", "--json", "--max-tokens", "40"},
                                             project.path());
    ASSERT_EQ(answer.code, 0) << answer.err;
    const Node out = parse_json(answer.out, "answer");
    EXPECT_THAT(keys_of(out), ElementsAre("prompt", "input_ids", "output_ids", "text"));
    EXPECT_EQ(out.at("text").as_string(), "ate the blue");
    EXPECT_EQ(out.at("output_ids").as_list().back().as_integer(), 260);   // <|im_end|>
}

TEST(Run, SeveralAdaptersAnswerTogether) {
    TinyProject project;
    const auto trained = [&](const std::string& targets) {
        project.run({"peft={rank: 4, targets: " + targets + "}", "optimizer.lr=5e-2", "data.valid=null"});
        return project.last_output().string();
    };
    const std::string style = trained("[q_proj, v_proj]"), tone = trained("[v_proj, down_proj]");
    const auto answer = [&](std::vector<std::string> adapters) {
        std::vector<std::string> words = {"generate",     "model", "--prompt",      "the cat", "--json",
                                          "--max-tokens", "40",    "--temperature", "1"};
        for (std::string& adapter : adapters) words.insert(words.end(), {"--adapter", std::move(adapter)});
        const ProgramResult result = run_program(words, project.path());
        EXPECT_EQ(result.code, 0) << result.err;
        return result.out;
    };
    const std::string together = answer({"style=" + style, "tone=" + tone});
    EXPECT_EQ(answer({tone, style}), together);   // called as their folders
    EXPECT_NE(answer({style}), together);
    EXPECT_NE(answer({"tone=" + tone}), together);
    project.run({"peft={method: ia3}", "training.steps=1"});
    const ProgramResult refused = run_program({"generate", "model", "--prompt", "a", "--adapter", style, "--adapter",
                                               "other=" + project.last_output().string()},
                                              project.path());
    EXPECT_EQ(refused.code, 65);
    EXPECT_EQ(refused.err,
              "error: adapters: run1 is of the type LORA, other of the type IA3; only adapters of one type "
              "can act together\n");
}

TEST(Run, MetricsAndStateHaveTheirKeys) {
    TinyProject project;
    const FinishedRun run = project.run({"eval.every=3"});
    for (const Node& step : run.steps)
        EXPECT_THAT(keys_of(step),
                    ElementsAre("step", "epoch", "loss", "grad_norm", "learning_rate", "num_input_tokens_seen",
                                "mean_token_accuracy", "entropy", "trained_tokens", "tokens_per_second", "step_seconds",
                                "memory", "ranks", "local_tokens"));
    EXPECT_THAT(keys_of(run.steps[0].at("memory")),
                ElementsAre("weights", "gradients", "optimizer", "activations", "workspace", "data", "offloaded"));
    std::vector<std::int64_t> evaluated;
    for (const Node& line : run.evaluations) {
        EXPECT_THAT(keys_of(line), ElementsAre("step", "epoch", "eval_loss", "eval_mean_token_accuracy", "eval_entropy",
                                               "eval_runtime"));
        evaluated.push_back(line.at("step").as_integer());
    }
    EXPECT_THAT(evaluated, ElementsAre(0, 3, 6));   // before the first, every third, the last once
    EXPECT_EQ(run.steps[5].at("epoch").as_number(), 1.5);
    EXPECT_EQ(run.steps[0].at("learning_rate").as_number(), 0.0);

    const Node state = read_json(project.last_output() / "trainer_state.json");
    EXPECT_EQ(state.at("global_step").as_integer(), 6);
    EXPECT_EQ(state.at("max_steps").as_integer(), 6);
    EXPECT_EQ(state.at("log_history").size(), 9u);
    EXPECT_EQ(state.at("epoch").as_number(), 1.5);
    EXPECT_EQ(state.at("num_input_tokens_seen").as_integer(), run.steps[5].at("num_input_tokens_seen").as_integer());
    EXPECT_EQ(state.at("log_history").as_list()[1].at("loss").as_number(), run.steps[0].at("loss").as_number());
}

TEST(Run, TheResolvedRecipeGivesTheSameRun) {
    TinyProject project;
    const FinishedRun first = project.run();
    const auto saved = project.last_output() / "recipe.yaml";
    const Inputs again = check_inputs(load_recipe(saved, {"output=" + (project.path() / "again").string()}), [] {});
    OutputFolder output(again.recipe.output);
    output.open();
    const auto ranks = make_solo();
    Trainer(again, *make_host_path(*ranks, Place::cpu()), &output, identity_of(again)).run();
    EXPECT_TRUE(get_text(output.path() / "adapter_model.safetensors") == first.weights);
}

TEST(Run, NamedValidationSets) {
    TinyProject project;
    const std::string path = (project.path() / "valid.jsonl").string();
    const FinishedRun run =
        project.run({"data.valid={one: {path: " + path + "}, two: {path: " + path + "}}", "training.steps=1"});
    for (const Node& line : run.evaluations)
        EXPECT_EQ(line.at("eval_one_loss").as_number(), line.at("eval_two_loss").as_number());
}

}   // namespace
}   // namespace trainer::test
