// Which checkpoints a run leaves, and when it ends before its last step.
#include <gmock/gmock.h>
#include <signal.h>

#include "configs/json.h"
#include "tests/trainer/promises/project.h"
#include "tests/trainer/training.h"
#include "trainer/checkpoint/store.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The step of the first lowest eval_loss after step 0.
std::int64_t best_step(const fs::path& run_folder) {
    std::int64_t best = 0;
    double lowest = 1e9;
    for (const Node& line : json_lines(get_text(run_folder / "metrics.jsonl")))
        if (line.contains("eval_loss") && line.at("eval_loss").as_number() < lowest) {
            lowest = line.at("eval_loss").as_number();
            best = line.at("step").as_integer();
        }
    return best;
}

// A rate so high that the validation loss is at its lowest after step 2.
const Words rising = {"optimizer.lr=0.3", "schedule.name=constant", "training.steps=5", "training.epochs=null",
                      "eval.every=1"};

Words rising_and(const Words& more) {
    Words all = rising;
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

TEST(Checkpoints, TheNewestAndTheBestStay) {
    const PromiseProject project(rising_and({"checkpoint.every=1", "checkpoint.keep=2"}));
    ASSERT_EQ(project.run("out").code, 0);
    const std::int64_t best = best_step(project / "out");
    ASSERT_GT(best, 0);
    ASSERT_LT(best, 4);
    EXPECT_THAT(list_checkpoints(project / "out"), ElementsAre(best, 4, 5));
    for (const std::int64_t step : {best, std::int64_t(4), std::int64_t(5)})
        EXPECT_EQ(verify_checkpoint(project / "out" / checkpoint_name(step)).manifest.step, step);
    const Node state = read_json(project / "out/trainer_state.json");
    EXPECT_EQ(state.at("best_global_step").as_integer(), best);
    EXPECT_EQ(state.at("best_model_checkpoint").as_string(), "out/" + checkpoint_name(best));

    ASSERT_EQ(project.run("newest", {"checkpoint.best=false"}).code, 0);
    EXPECT_THAT(list_checkpoints(project / "newest"), ElementsAre(4, 5));
}

TEST(Checkpoints, AreNotWrittenWhenNotWanted) {
    const PromiseProject project(rising_and({"checkpoint.every=null"}));
    ASSERT_EQ(project.run("out").code, 0);
    EXPECT_THAT(list_checkpoints(project / "out"), IsEmpty());
    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    EXPECT_EQ(stopped.code, 75);
    EXPECT_THAT(list_checkpoints(project / "stopped"), ElementsAre(3));
    expect_same(project.finish("stopped", {"--resume"}), project.result("out"));
}

TEST(EarlyStop, AfterEnoughEvaluationsWithoutABetterOne) {
    const PromiseProject project(rising_and({"eval.patience=2", "checkpoint.every=1"}));
    const RunResult expected = project.finish("whole");
    const std::int64_t best = best_step(project / "whole");
    const Node state = read_json(project / "whole/trainer_state.json");
    EXPECT_EQ(state.at("global_step").as_integer(), best + 2);
    EXPECT_LT(best + 2, 5);
    EXPECT_EQ(project.run("whole", {"--resume"}).out, "whole: this run is finished; there is nothing to do\n");

    expect_same(project.finish("ranks", {"--nproc", "2"}), expected);
    // Stopped while patience runs out, and where it has.
    for (const auto step : {best, best + 1, best + 2}) {
        SCOPED_TRACE(step);
        const std::string output = "out" + std::to_string(step);
        const ProgramResult stopped = project.run(output, {}, signal_at(static_cast<int>(step), SIGTERM));
        EXPECT_EQ(stopped.code, 75) << stopped.err;
        expect_same(project.finish(output, {"--resume"}), expected);
    }
}

}   // namespace
}   // namespace trainer::test
