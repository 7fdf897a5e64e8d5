// One rank is killed: the others end with code 82 and its name, nothing is left over, and the run can go on.
#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

using Clock = std::chrono::steady_clock;
using ::testing::HasSubstr;

constexpr int ranks = 3;
constexpr double limit = 3;   // seconds

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

const Words overrides = {"training.steps=12", "training.epochs=null", "checkpoint.every=1", "eval.every=2",
                         "training.sharding=gradients"};
const Words more = {"--nproc", std::to_string(ranks), "--resume"};

// What the launcher says and leaves when a rank was killed.
void expect_loss(const PromiseProject& project, Program& program, int victim, Clock::time_point moment) {
    const ProgramResult ended = program.wait();
    EXPECT_LT(seconds_since(moment), limit);
    EXPECT_EQ(project.processes(), std::vector<pid_t>()) << "orphans";
    EXPECT_EQ(ended.code, 82) << ended.err;
    EXPECT_THAT(last_error(ended), HasSubstr("rank " + std::to_string(victim) + " (process "));
    EXPECT_THAT(last_error(ended), HasSubstr("was killed by signal 9 (Killed)"));
}

void sleep_for(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

// From the launch to nearly the end: while ranks meet, in steps, evaluations and checkpoints.
TEST(LostRank, EndsTheOthersAndTheRunGoesOn) {
    const PromiseProject project(overrides);
    auto begin = Clock::now();
    const RunResult expected = project.finish("whole", more);
    std::uniform_real_distribution<> moments(0, 0.8 * seconds_since(begin));
    std::mt19937 random(4);
    const int count = kills("TRAINER_RANK_KILLS", 10);
    double slowest = 0;
    int killed = 0;
    for (int i = 0; killed < count && i < 3 * count && !HasFailure(); ++i) {
        const std::string output = "out" + std::to_string(i);
        SCOPED_TRACE(output);
        const int victim = i % ranks;
        Program program = project.start(output, more);
        sleep_for(moments(random));
        const pid_t process = project.process_of_rank(victim);
        if (process < 0 || !program.running()) continue;   // too early or too late
        begin = Clock::now();
        ::kill(process, SIGKILL);
        expect_loss(project, program, victim, begin);
        slowest = std::max(slowest, seconds_since(begin));
        ++killed;
        expect_same(project.finish(output, more), expected);
        std::filesystem::remove_all(project / output);
    }
    EXPECT_EQ(killed, count);
    std::printf("%d ranks killed; the others ended within %.2f s\n", killed, slowest);
}

TEST(LostRank, WhileOthersEvaluate) {
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("whole", more);
    for (const int microseconds : {0, 1000}) {
        SCOPED_TRACE(microseconds);
        const std::string output = "out" + std::to_string(microseconds);
        Program program = project.start(output, more, signal_at(4, SIGKILL, microseconds));   // of rank 0
        while (program.running() && !std::filesystem::exists(project / (output + "/metrics.jsonl"))) sleep_for(0.001);
        while (project.process_of_rank(0) > 0) sleep_for(0.001);
        expect_loss(project, program, 0, Clock::now());
        expect_same(project.finish(output, more), expected);
    }
}

TEST(LostRank, WhileACheckpointIsWritten) {
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("whole", more);
    const auto being_written = [](const std::filesystem::path& run_folder) {
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(run_folder, error))
            if (entry.path().filename().string().starts_with(".tmp-checkpoint-")) return true;
        return false;
    };
    for (int victim = 0; victim < ranks; ++victim) {
        const std::string output = "out" + std::to_string(victim);
        SCOPED_TRACE(output);
        Program program = project.start(output, more);
        while (program.running() && !being_written(project / output)) sleep_for(0.0002);
        const auto moment = Clock::now();
        ASSERT_EQ(::kill(project.process_of_rank(victim), SIGKILL), 0);
        expect_loss(project, program, victim, moment);
        expect_same(project.finish(output, more), expected);
    }
}

}   // namespace
}   // namespace trainer::test
