// Runs with steps that are not finite: one is skipped, several in a row end the run with their cause.
#include <gmock/gmock.h>

#include "configs/json.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Fine as f32, infinite as bf16: the row of a token poisons the steps that the token is in, and no others.
constexpr float beyond_bf16 = 3.4028e38f;

class NonFiniteRun : public ::testing::Test {
protected:
    TinyProject project{1, {.tied = false}};
    const std::vector<std::string> full = {"peft=null", "training.precision=bf16", "optimizer.weight_decay=0"};

    // Twelve rows; the letter of the seventh is poisoned.
    void SetUp() override {
        put_text(project.path() / "train.jsonl", lettered_chats(12));
        poison('G');
    }
    void poison(char letter) const {
        set_weights(project.path() / "model" / "model.safetensors", "model.embed_tokens.weight", letter * 32 + 4,
                    letter * 32 + 5, beyond_bf16);
    }
    std::vector<std::string> with(const std::vector<std::string>& more) const {
        std::vector<std::string> all = full;
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }
    ProgramResult run(const std::vector<std::string>& options, const std::vector<std::string>& overrides) const {
        project.inputs(with(overrides));   // writes the recipe
        std::vector<std::string> words = {"run", "recipe.yaml"};
        for (const auto& list : {with(overrides), options}) words.insert(words.end(), list.begin(), list.end());
        return run_program(words, project.path());
    }
    fs::path out() const { return project.path() / "out"; }
    // The step, from 1, whose leaf `leaf` holds a row of the data file.
    std::int64_t step_of(const Inputs& inputs, std::int64_t row, std::size_t* leaf) const {
        for (std::int64_t step = 0; step < inputs.plan->steps_per_epoch(); ++step) {
            const auto planned = inputs.plan->step(step);
            for (std::size_t l = 0; l < planned.leaves.size(); ++l)
                for (const std::int32_t one : planned.leaves[l])
                    if (inputs.train.examples[static_cast<std::size_t>(one)].row == row) {
                        *leaf = l;
                        return step + 1;
                    }
        }
        return 0;
    }
};

TEST_F(NonFiniteRun, AStepIsSkippedAndTheRunGoesOn) {
    const FinishedRun run = project.run(with({"schedule.warmup=0"}));   // two epochs of three steps
    EXPECT_EQ(run.outcome.state.step, 6);
    EXPECT_EQ(run.outcome.state.skipped, 2);
    EXPECT_EQ(run.outcome.state.updates, 4);
    EXPECT_EQ(run.outcome.state.skipped_in_a_row, run.steps[5].contains("skipped") ? 1 : 0);
    ASSERT_EQ(run.steps.size(), 6u);
    int skipped = 0;
    for (std::size_t i = 0; i < 6; ++i) {
        const Node& line = run.steps[i];
        const bool null = line.at("loss").is_null();
        EXPECT_EQ(null, line.contains("skipped"));
        EXPECT_EQ(null, line.at("grad_norm").is_null());
        EXPECT_TRUE(!null || line.at("skipped").as_bool());
        skipped += null ? 1 : 0;
        if (i == 0) continue;
        const Node& before = run.steps[i - 1];
        EXPECT_GT(line.at("num_input_tokens_seen").as_integer(), before.at("num_input_tokens_seen").as_integer());
        const double rate = line.at("learning_rate").as_number();
        const double rate_before = before.at("learning_rate").as_number();
        if (before.contains("skipped")) {
            EXPECT_EQ(rate, rate_before);   // the schedule waits
        } else {
            EXPECT_LT(rate, rate_before);
        }
    }
    EXPECT_EQ(skipped, 2);
    EXPECT_FALSE(fs::exists(project.last_output() / "nonfinite-step-1.json"));
}

TEST_F(NonFiniteRun, EndsWithTheCauseAndALastGoodCheckpoint) {
    std::size_t leaf = 0;
    const std::vector<std::string> options = {"training.nonfinite_steps=1", "checkpoint.every=1", "data.valid=null"};
    const std::int64_t step = step_of(project.inputs(with(options)), 7, &leaf);
    const std::string file = (out() / ("nonfinite-step-" + std::to_string(step) + ".json")).string();
    const ProgramResult result = run({}, options);
    EXPECT_EQ(result.code, 80);
    const Node document = read_json(file);
    const Node& found = document.at("found");
    const std::string row = std::to_string(found.at("index").as_list()[0].as_integer());
    const std::string size = std::to_string(found.at("shape").as_list()[0].as_integer());
    const std::string position = std::to_string(found.at("token").at("position").as_integer());
    EXPECT_THAT(
        result.err,
        HasSubstr("error: the run diverged: step " + std::to_string(step) +
                  ": loss nan, gradient norm nan, not finite 1 time in a row (training.nonfinite_steps). "
                  "First of all, in the forward pass, the output of embedding in model.embed_tokens is inf at [" +
                  row + ", 4] of [" + size + ", 32] (leaf " + std::to_string(leaf) +
                  "): " + (project.path() / "train.jsonl").string() + ":7, token " + position +
                  " (id 71, \"G\"). The rows are in " + file + ". Lower optimizer.lr or check the data\n"));
    EXPECT_EQ(document.at("step").as_integer(), step);
    EXPECT_EQ(document.at("seed").as_integer(), 42);
    EXPECT_TRUE(document.at("weight").is_null());

    // the file says how to come there again
    fs::remove(file);
    const ProgramResult again = run({"--resume"}, options);
    EXPECT_EQ(again.code, 80);
    EXPECT_EQ(again.err, result.err);
    EXPECT_EQ(read_json(file), document);
    if (step > 1) {
        EXPECT_THAT(again.out, HasSubstr("resuming from checkpoint-" + std::to_string(step - 1)));
    }
}

TEST_F(NonFiniteRun, NamesTheRank) {
    const std::vector<std::string> options = {"training.nonfinite_steps=1", "training.batch=2",
                                              "training.micro_batch=1", "data.valid=null"};
    const Inputs inputs = project.inputs(with(options));
    const auto second = inputs.plan->step(0).leaves[1][0];
    const Example& example = inputs.train.examples[static_cast<std::size_t>(second)];
    poison(static_cast<char>('A' + example.row - 1));
    const ProgramResult result = run({"--nproc", "2"}, options);
    EXPECT_EQ(result.code, 80);
    EXPECT_THAT(result.err, HasSubstr("(leaf 1, rank 1 ("));
    EXPECT_THAT(result.err, HasSubstr("train.jsonl:" + std::to_string(example.row) + ", token "));
    EXPECT_EQ(result.err.find("error:"), result.err.rfind("error:")) << result.err;   // one rank speaks
    const Node found = read_json(out() / "nonfinite-step-1.json").at("found");
    EXPECT_EQ(found.at("rank").as_integer(), 1);
    EXPECT_EQ(found.at("leaf").as_integer(), 1);
}

TEST_F(NonFiniteRun, ALearningRateFarTooHigh) {
    poison('Z');   // in no row
    set_weights(project.path() / "model" / "model.safetensors", "model.embed_tokens.weight", 'G' * 32 + 4, 'G' * 32 + 5,
                0.5f);
    for (const char* sharding : {"none", "gradients"}) {
        fs::remove_all(out());
        const ProgramResult result =
            run({}, {"training.precision=f32", "optimizer.lr=1e30", std::string("training.sharding=") + sharding,
                     "training.steps=30", "data.valid=null"});
        EXPECT_EQ(result.code, 80);
        EXPECT_THAT(result.out, HasSubstr("step 4: loss nan, gradient norm nan: not finite, the step is skipped\n"));
        EXPECT_THAT(result.err, HasSubstr("not finite 3 times in a row"));
        EXPECT_THAT(result.err, HasSubstr("in the forward pass, the output of linear in model.layers.0."));
        EXPECT_FALSE(fs::exists(out() / "model.safetensors"));
    }
}

}   // namespace
}   // namespace trainer::test
