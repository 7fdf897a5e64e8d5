// optimizer.in_backward: the same bits in less memory, and what happens when a gradient is not finite.
#include "trainer/backward_update.h"

#include <gmock/gmock.h>

#include "configs/json.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

using Overrides = std::vector<std::string>;

Overrides one_leaf(Overrides more) {
    for (const char* one : {"peft=null", "training.micro_batch=4", "training.clip_norm=0"}) more.emplace_back(one);
    return more;
}

std::size_t peak(const FinishedRun& run, Purpose purpose) {
    return run.outcome.memory.peak_bytes[static_cast<std::size_t>(purpose)];
}

// Bytes of gradients at the peak: without it and with it.
std::pair<std::size_t, std::size_t> expect_same_bits(TinyProject& project, const Overrides& more) {
    std::string text;
    for (const std::string& one : more) text += one + " ";
    SCOPED_TRACE(text);
    Overrides inside = one_leaf(more);
    inside.emplace_back("optimizer.in_backward=true");
    const FinishedRun after = project.run(one_leaf(more));
    const FinishedRun within = project.run(inside);
    expect_equal_bits(after, within);
    return {peak(after, Purpose::gradients), peak(within, Purpose::gradients)};
}

TEST(BackwardUpdate, ChangesNoBit) {
    for (const bool tied : {true, false}) {
        TinyProject project(16, {.layers = 3, .tied = tied});
        for (const char* optimizer : {"optimizer.name=adamw_8bit", "optimizer.name=muon", "optimizer.name=adafactor",
                                      "optimizer={name: schedule_free_adamw, lr: 1e-2}"})
            expect_same_bits(project, {optimizer});
        expect_same_bits(project, {"training.recompute=block"});
        expect_same_bits(project, {"training.precision=bf16", "optimizer.master=bf16"});
        expect_same_bits(project, {"training.unfrozen_parameters=['model.layers.1.', '.*norm']"});
        expect_same_bits(project, {"training.unfrozen_parameters=['model.layers.2.mlp']"});
    }
}

// Short rows, so that gradients are what there is most of: all of them, or a block's beside those of the
// embedding, which is also the output layer.
TEST(BackwardUpdate, HoldsTheGradientsOfOneBlock) {
    TinyProject project(1, {.hidden = 64, .layers = 8, .intermediate = 768});
    put_text(project.path() / "train.jsonl", lettered_chats(12));
    const auto [after, within] = expect_same_bits(
        project, {"checkpoint.every=null", "data.valid=null", "training.batch=4", "training.recompute=block"});
    const std::size_t block = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 768 + 2 * 64);
    const std::size_t rest = 4 * (264 * 64 + 64);
    EXPECT_GT(after, 7 * block);   // the peak is in the backward pass of the last
    EXPECT_LE(within, block + rest + block / 4);
}

// Rows of text whose first token is a letter. The embedding of one letter is zero, and so is all that the model makes
// of it where it comes first: nothing to lose for the loss, but in the backward pass every norm divides by √eps.
class SpoiledRun : public ::testing::Test {
protected:
    TinyProject project{1, {.tied = false}};
    const Overrides options =
        one_leaf({"data.train.format=text", "data.valid=null", "training.steps=3", "checkpoint.every=1",
                  "optimizer.in_backward=true", "model.config={rms_norm_eps: 1e-44}", "optimizer.weight_decay=0"});

    // The first step, from 1, that takes the row.
    std::int64_t spoil(std::int64_t step) {
        std::string text;
        for (char letter = 'A'; letter < 'A' + 12; ++letter)
            text += std::string("{\"text\": \"") + letter + " small row\"}\n";
        put_text(project.path() / "train.jsonl", text);
        const Inputs inputs = project.inputs(options);
        const auto row = inputs.plan->step(step - 1).leaves[0][0];
        const auto letter = inputs.train.examples[static_cast<std::size_t>(row)].ids.front();
        EXPECT_GE(letter, 'A');
        EXPECT_LE(letter, 'L');
        set_weights(project.path() / "model" / "model.safetensors", "model.embed_tokens.weight", letter * 32,
                    letter * 32 + 32, 0);
        return step;
    }
    // `words`: the command, the recipe and what counts more than the options.
    ProgramResult run(Overrides words) const {
        words.insert(words.begin() + 2, options.begin(), options.end());
        return run_program(words, project.path());
    }
};

TEST_F(SpoiledRun, EndsAndSaysWhereToGoOn) {
    spoil(3);
    const ProgramResult result = run({"run", "recipe.yaml"});
    EXPECT_EQ(result.code, 80) << result.err;
    const std::string message =
        "A gradient turned out not finite when other weights had been updated already in the same backward pass "
        "(optimizer.in_backward): the weights in memory are spoiled, and nothing of them is saved. Go on from "
        "checkpoint-2 by --resume without optimizer.in_backward, which skips the step\n";
    EXPECT_THAT(result.err, HasSubstr("error: the run diverged: step 3: loss "));
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_THAT(result.err, ::testing::Not(HasSubstr("loss nan")));
    const fs::path out = project.path() / "out";
    EXPECT_TRUE(fs::exists(out / "checkpoint-2"));
    EXPECT_FALSE(fs::exists(out / "checkpoint-3"));
    EXPECT_FALSE(fs::exists(out / "model.safetensors"));
    EXPECT_EQ(run({"run", "recipe.yaml", "--resume"}).err, result.err);   // from weights that are good
    const ProgramResult advised = run({"run", "recipe.yaml", "--resume", "optimizer.in_backward=false"});
    EXPECT_EQ(advised.code, 0) << advised.err;
    const std::vector<Node> lines = json_lines(get_text(out / "metrics.jsonl"));
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_TRUE(lines[2].at("skipped").as_bool());
    EXPECT_TRUE(fs::exists(out / "model.safetensors"));
}

TEST_F(SpoiledRun, BeforeTheFirstCheckpoint) {
    spoil(1);
    const ProgramResult result = run({"run", "recipe.yaml"});
    EXPECT_EQ(result.code, 80) << result.err;
    EXPECT_THAT(
        result.err,
        HasSubstr(
            "There is no checkpoint to go on from: start anew without optimizer.in_backward, which skips the step\n"));
}

// A loss that is not finite is known before anything is updated.
TEST(BackwardUpdate, ALossThatIsNotFiniteSkipsTheStep) {
    TinyProject project(16, {.tied = false});
    for (const char* inside : {"false", "true"}) {
        const FinishedRun run =
            project.run(one_leaf({"optimizer.lr=1e30", "data.valid=null", "training.steps=5",
                                  "training.nonfinite_steps=9", std::string("optimizer.in_backward=") + inside}));
        EXPECT_EQ(run.outcome.state.updates, 2);
        EXPECT_EQ(run.outcome.state.skipped, 3);
    }
}

}   // namespace
}   // namespace trainer::test
