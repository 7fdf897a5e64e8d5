#include "trainer/stop.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>

#include "comm/solo.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

class Stopping : public testing::Test {
protected:
    ~Stopping() override { ::unsetenv("SLURM_JOB_END_TIME"); }

    // What is agreed when Slurm's end is so many seconds away.
    Stop before_end(double left, double seconds) {
        const auto now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
        ::setenv("SLURM_JOB_END_TIME", std::to_string(now + left).c_str(), 1);
        return StopRequests(*ranks_, folder_.path()).agreed(seconds, true);
    }
    Stop agreed(bool can_save) { return StopRequests(*ranks_, folder_.path()).agreed(0, can_save); }

    std::unique_ptr<Communicator> ranks_ = make_solo();
    ScratchFolder folder_;
};

TEST_F(Stopping, NothingIsAskedFor) { EXPECT_EQ(agreed(true), Stop::no); }

TEST_F(Stopping, BeforeSlurmsEndWhenTheNextCheckpointWouldNotFit) {
    EXPECT_EQ(before_end(100, 80), Stop::no);
    EXPECT_EQ(before_end(100, 100 - StopRequests::margin + 0.1), Stop::preempted);
    EXPECT_EQ(before_end(StopRequests::margin - 0.1, 0), Stop::preempted);
    EXPECT_EQ(before_end(-10, 0), Stop::preempted);
}

TEST_F(Stopping, SaveWaitsUntilThereIsSomethingToSave) {
    put_text(folder_ / "SAVE", "");
    EXPECT_EQ(agreed(false), Stop::no);
    EXPECT_TRUE(fs::exists(folder_ / "SAVE"));
    EXPECT_EQ(agreed(true), Stop::save);
    EXPECT_FALSE(fs::exists(folder_ / "SAVE"));
}

TEST_F(Stopping, StopIsTakenAtOnceAndBeforeSave) {
    put_text(folder_ / "SAVE", "");
    put_text(folder_ / "STOP", "");
    EXPECT_EQ(agreed(false), Stop::preempted);
    EXPECT_FALSE(fs::exists(folder_ / "STOP"));
    EXPECT_EQ(agreed(true), Stop::save);
}

}   // namespace
}   // namespace trainer::test
