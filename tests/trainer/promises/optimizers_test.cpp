// Every optimizer, and the schedule with a memory: stopped and resumed, on several ranks and with what they share out,
// the same bits.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

// Stopped after two of its six steps, and on two ranks that share out everything allowed.
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

TEST(Schedules, PlateauIsResumed) {
    expect_the_same_however_it_runs(
        {"schedule={name: reduce_on_plateau, patience: 0, factor: 0.5, threshold: 0.9}", "eval.every=1"},
        {"gradients"});
}

}   // namespace
}   // namespace trainer::test
