// An adapter that is trained while others act with it keeps every promise of one alone, and what lies beside it belongs
// to the run.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

class Beside : public testing::Test {
protected:
    Beside() { first.finish("style", {"peft={method: lora, rank: 4, targets: [q_proj, v_proj]}"}); }

    Words section() const {
        return {
            "peft={method: lora, rank: 3, targets: [v_proj, down_proj], dropout: 0.1, name: tone, "
            "trainable_token_indices: [3, 14, 15], beside: {style: " +
            (first / "style").string() + "}}"};
    }

    PromiseProject first;
};

TEST_F(Beside, ResumesToTheSameBits) {
    const PromiseProject project(section());
    const RunResult expected = project.finish("straight");
    ASSERT_FALSE(expected.empty());
    EXPECT_TRUE(fs::exists(project / "straight/tone/adapter_config.json"));
    EXPECT_FALSE(fs::exists(project / "straight/adapter_config.json"));
    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
    expect_same(project.finish("ranks", {"--nproc", "2"}), expected);
}

TEST_F(Beside, AnotherOneBesideIsAnotherRun) {
    const PromiseProject project(section());
    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    fs::remove_all(first / "style");
    first.finish("style", {"peft={method: lora, rank: 4, targets: [q_proj, v_proj]}", "training.seed=5"});
    const ProgramResult resumed = project.run("stopped", {"--resume"});
    EXPECT_EQ(resumed.code, 85);
    EXPECT_NE(resumed.err.find("base"), std::string::npos) << resumed.err;
}

}   // namespace
}   // namespace trainer::test
