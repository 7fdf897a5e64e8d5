// What saves memory changes no bit: recomputation and offloading, stopped and resumed with and without them, on one
// rank and on two; and micro_batch: auto stays what it was when the run began.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "configs/yaml.h"
#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const Words offload_optimizer = {"training.offload=optimizer"};
const Words offload_activations = {"training.recompute=block", "training.offload=activations"};

Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

// No file of an offload has a name.
void expect_nothing_left(const fs::path& output) {
    for (const auto& entry : fs::directory_iterator(output))
        EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr("offload")));
}

void expect_offloading_changes_nothing(const Words& overrides) {
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("plain");
    ASSERT_FALSE(expected.empty());
    for (const Words& offload : {offload_optimizer, offload_activations}) {
        SCOPED_TRACE(offload.back());
        expect_same(project.finish("one", offload), expected);
        expect_same(project.finish("two", with({"--nproc", "2", "training.sharding=optimizer"}, offload)), expected);
        // begun with it and finished without, and the other way round
        const ProgramResult stopped = project.run("begun", offload, signal_at(3, SIGTERM));
        ASSERT_EQ(stopped.code, 75) << stopped.err;
        expect_nothing_left(project / "begun");
        expect_same(project.finish("begun", {"--resume"}), expected);
        ASSERT_EQ(project.run("ended", {}, signal_at(3, SIGTERM)).code, 75);
        expect_same(project.finish("ended", with({"--resume"}, offload)), expected);
        EXPECT_EQ(project.run("killed", offload, signal_at(4, SIGKILL)).code, 128 + SIGKILL);
        expect_nothing_left(project / "killed");
        expect_same(project.finish("killed", with({"--resume"}, offload)), expected);
        for (const char* output : {"one", "two", "begun", "ended", "killed"}) fs::remove_all(project / output);
    }
}

TEST(Offload, ChangesNoBitOfAnAdapter) { expect_offloading_changes_nothing({}); }
TEST(Offload, ChangesNoBitOfAllWeights) {
    expect_offloading_changes_nothing({"peft=null", "training.determinism=strict"});
}
TEST(Offload, ChangesNoBitOfScheduleFree) {   // which evaluates and saves other values than it trains
    expect_offloading_changes_nothing(
        {"peft=null", "training.determinism=strict", "optimizer={name: schedule_free_adamw, lr: 5e-3}"});
}

std::int64_t recorded(const fs::path& folder) {
    return read_yaml(folder / "recipe.yaml").at("training").at("micro_batch").as_integer();
}

// This machine has room for all nine rows at once. A run that began with two goes on with two, and one that began with
// nine is the one of nine.
TEST(MicroBatchAuto, IsRecordedAndStays) {
    const PromiseProject project;
    const RunResult two = project.finish("two", {"training.micro_batch=2"});
    const RunResult nine = project.finish("nine", {"training.micro_batch=9"});
    const ProgramResult begun = project.run("begun", {"training.micro_batch=2"}, signal_at(3, SIGTERM));
    ASSERT_EQ(begun.code, 75) << begun.err;
    expect_same(project.finish("begun", {"--resume", "training.micro_batch=auto"}), two);
    EXPECT_EQ(recorded(project / "begun"), 2);

    const ProgramResult open =
        project.run("open", {"training.micro_batch=auto", "training.recompute=auto"}, signal_at(3, SIGTERM));
    ASSERT_EQ(open.code, 75) << open.err;
    EXPECT_THAT(open.out, HasSubstr("decided by memory: recompute none, micro_batch 9 ("));
    EXPECT_EQ(recorded(project / "open"), 9);
    const ProgramResult other = project.run("open", {"--resume", "training.micro_batch=4"});
    EXPECT_EQ(other.code, 85);
    EXPECT_THAT(other.err, HasSubstr("training.micro_batch: 9 before, 4 now"));
    expect_same(project.finish("open", {"--resume", "training.micro_batch=auto", "training.recompute=auto"}), nine);
    const ProgramResult again = project.run("open", {"--resume", "training.micro_batch=auto"});
    EXPECT_EQ(again.code, 0);
    EXPECT_THAT(again.out, HasSubstr("this run is finished"));
}

// Without the run folder's own recipe, the newest checkpoint's counts.
TEST(MicroBatchAuto, IsTakenFromACheckpoint) {
    const PromiseProject project;
    const RunResult two = project.finish("two", {"training.micro_batch=2"});
    ASSERT_EQ(project.run("begun", {"training.micro_batch=2"}, signal_at(3, SIGTERM)).code, 75);
    fs::remove(project / "begun/recipe.yaml");
    expect_same(project.finish("begun", {"--resume", "training.micro_batch=auto"}), two);
}

TEST(MicroBatchAuto, GivesEveryRankALeaf) {
    const PromiseProject project;
    const RunResult three = project.finish("three", {"training.micro_batch=3"});   // of nine rows, not four
    expect_same(project.finish("ranks", {"--nproc", "3", "training.micro_batch=auto"}), three);
    EXPECT_EQ(recorded(project / "ranks"), 3);
}

TEST(Recompute, IsDecidedAnewWhenResumed) {
    const PromiseProject project;
    const RunResult expected = project.finish("plain");
    ASSERT_EQ(project.run("open", {"training.recompute=norms"}, signal_at(3, SIGTERM)).code, 75);
    expect_same(project.finish("open", {"--resume", "training.recompute=auto"}), expected);
}

}   // namespace
}   // namespace trainer::test
