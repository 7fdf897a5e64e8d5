// kill -9 at any moment, then --resume: the same result as if nothing had happened.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

const Words ranks_of_zero2 = {"--nproc", "2", "training.sharding=gradients"};

// Runs under a supervisor that starts it again with the same command until it is done, while `kill` strikes at random
// moments.
class KilledRuns {
public:
    KilledRuns(const Words& overrides, Words more) : project_(overrides), more_(std::move(more)) {
        const auto begin = Clock::now();
        expected_ = project_.finish("whole", more_);
        seconds_ = seconds_since(begin);
        more_.push_back("--resume");
    }

    template <typename Kill>
    void strike(int count, const Kill& kill) {
        int killed = 0;
        for (int run = 0; killed < count && !::testing::Test::HasFailure(); ++run) {
            const std::string output = "out" + std::to_string(run);
            while (one_more_killed(output, kill)) ++killed;
            SCOPED_TRACE(output + " after " + std::to_string(killed) + " kills");
            expect_same(project_.result(output), expected_);
            std::filesystem::remove_all(project_ / output);
            runs_ = run + 1;
        }
        std::printf("%d kills in %d runs\n", killed, runs_);
    }

    const PromiseProject& project() const { return project_; }

private:
    // False when the run came to its end before it was hit.
    template <typename Kill>
    bool one_more_killed(const std::string& output, const Kill& kill) {
        const double moment = std::uniform_real_distribution<>(0, 0.9 * seconds_)(random_);
        const auto begin = Clock::now();
        Program program = project_.start(output, more_);
        while (seconds_since(begin) < moment && program.running())
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (program.running()) kill(program);
        const ProgramResult ended = program.wait();
        EXPECT_GE(project_.wait_until_deserted(), 0) << "orphans";
        EXPECT_TRUE(ended.code == 0 || ended.code == 128 + SIGKILL || ended.code == 82)
            << ended.code << " after " << moment << " s: " << ended.err;
        return ended.code != 0 && !::testing::Test::HasFailure();
    }

    PromiseProject project_;
    Words more_;
    RunResult expected_;
    double seconds_ = 0;
    int runs_ = 0;
    std::mt19937 random_{20};
};

// Steps enough for several kills, checkpoints written behind nearly all of them.
const Words often = {"training.steps=12", "training.epochs=null", "checkpoint.every=1", "checkpoint.keep=2"};

Words often_and(const Words& more) {
    Words all = often;
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

int share() { return (kills("TRAINER_KILLS", 40) + 3) / 4; }
void kill_all(Program& program) { program.signal(SIGKILL); }

TEST(Killed, Lora) { KilledRuns(often, {}).strike(share(), kill_all); }

TEST(Killed, FullFineTuning) { KilledRuns(often_and({"peft=null"}), {}).strike(share(), kill_all); }

TEST(Killed, ShardedRanksWithTheirLauncher) { KilledRuns(often, ranks_of_zero2).strike(share(), kill_all); }

TEST(Killed, OneOfShardedRanks) {
    KilledRuns runs(often, ranks_of_zero2);
    int next = 0;
    runs.strike(share(), [&](Program&) {
        const pid_t rank = runs.project().process_of_rank(next++ % 2);
        if (rank > 0) ::kill(rank, SIGKILL);
    });
}

// A step of 60 leaves takes long enough to be hit in its middle.
TEST(Killed, InTheMiddleOfAStep) {
    const PromiseProject project(
        {"training.batch=60", "data.packing=false", "training.epochs=4", "checkpoint.every=1"});
    const RunResult expected = project.finish("whole");
    for (const int microseconds : {1, 3000, 10000}) {
        const std::string output = "out" + std::to_string(microseconds);
        const ProgramResult ended = project.run(output, {}, signal_at(2, SIGKILL, microseconds));
        EXPECT_EQ(ended.code, 128 + SIGKILL);
        expect_same(project.finish(output, {"--resume"}), expected);
    }
}

}   // namespace
}   // namespace trainer::test
