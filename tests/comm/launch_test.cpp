// `--nproc N`: processes, signals, exit codes, and nobody left behind.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/comm/ranks.h"

namespace trainer::test {
namespace {

TEST(Launch, PassesSignalsOn) {
    for (const int number : {SIGHUP, SIGINT, SIGTERM, SIGUSR1}) {
        StartedRanks ranks = start_ranks(Launcher::sockets, 2, {"wait"});
        ASSERT_TRUE(ranks.await_result(2) && ranks.await_result(3));   // both are ready
        ranks.signal(number);
        const RanksOutcome outcome = ranks.wait(2);
        EXPECT_EQ(outcome.exit_code, 75) << outcome.errors;
        for (const RankResult& rank : outcome.ranks) EXPECT_EQ(rank.code, number);
    }
}

// Of signals that wait the kernel delivers the lowest first: a rank that got this one too would be dead.
TEST(Launch, KeepsASignalWithoutMeaningFromTheRanks) {
    StartedRanks ranks = start_ranks(Launcher::sockets, 2, {"wait"});
    ASSERT_TRUE(ranks.await_result(2) && ranks.await_result(3));
    ranks.signal(SIGUSR2);
    ranks.signal(SIGTERM);
    const RanksOutcome outcome = ranks.wait(2);
    EXPECT_EQ(outcome.exit_code, 75) << outcome.errors;
    for (const RankResult& rank : outcome.ranks) EXPECT_EQ(rank.code, SIGTERM);
}

TEST(Launch, RanksDieWithTheirLauncher) {
    StartedRanks ranks = start_ranks(Launcher::sockets, 3, {"wait"});
    for (const int rank : {3, 4, 5}) ASSERT_TRUE(ranks.await_result(rank));
    EXPECT_EQ(ranks.processes().size(), 4U);
    ranks.signal(SIGKILL);
    EXPECT_TRUE(ranks.all_ended_within(3));
    ranks.wait(3);
}

TEST(Launch, RanksDieWithMpirun) {
    if (!mpirun_missing().empty()) GTEST_SKIP() << mpirun_missing();
    StartedRanks ranks = start_ranks(Launcher::mpirun, 2, {"wait"});
    ASSERT_TRUE(ranks.await_result(2) && ranks.await_result(3));
    ranks.signal(SIGKILL);
    EXPECT_TRUE(ranks.all_ended_within(3));
    ranks.wait(2);
}

TEST(Launch, SaysWhichRankWasKilled) {
    const RanksOutcome outcome = run_ranks(Launcher::sockets, 2, {"signal", "1", std::to_string(SIGSEGV)});
    EXPECT_EQ(outcome.exit_code, 82);
    EXPECT_TRUE(outcome.errors.starts_with("error: rank 1 (process ")) << outcome.errors;
    EXPECT_TRUE(outcome.errors.ends_with(") was killed by signal 11 (Segmentation fault)\n")) << outcome.errors;
}

// A rank that fails with a code of its own is the cause, whatever the others end with.
TEST(Launch, ReturnsTheFirstCause) {
    EXPECT_EQ(run_ranks(Launcher::sockets, 3, {"abandon", "1", "78", "bad"}).exit_code, 78);
    EXPECT_EQ(run_ranks(Launcher::sockets, 3, {"fault", "error", "1", "4", "all_gather", "0"}).exit_code, 74);
}

TEST(Launch, RefusesWrongCountsAndLaunchesWithinLaunches) {
    for (const char* count : {"0", "-3", "1025"}) {
        StartedRanks ranks({RANK_PROGRAM, "--nproc", count, "wait"}, {});
        const RanksOutcome outcome = ranks.wait(0);
        EXPECT_EQ(outcome.exit_code, 64);
        EXPECT_EQ(outcome.errors,
                  "error: --nproc is " + std::string(count) + "; expected a number of processes from 1 to 1024\n");
    }
    StartedRanks ranks({RANK_PROGRAM, "--nproc", "2", "wait"}, {"RANK=0", "WORLD_SIZE=1"});
    const RanksOutcome outcome = ranks.wait(0);
    EXPECT_EQ(outcome.exit_code, 64);
    EXPECT_EQ(
        outcome.errors,
        "error: --nproc 2 starts ranks itself, but another launcher has started this process as rank 0 of 1; use one "
        "of the two\n");
}

// The program starts without MPI; only a run under mpirun needs it.
TEST(Launch, SaysThatMpiIsMissing) {
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("no-mpi-" + std::to_string(::getpid()));
    std::filesystem::create_directory(folder);
    std::filesystem::copy_file(RANK_PROGRAM, folder / "program");
    StartedRanks ranks({folder / "program", "wait"}, {"OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2"});
    const RanksOutcome outcome = ranks.wait(1);
    std::filesystem::remove_all(folder);
    EXPECT_EQ(outcome.exit_code, 71);
    EXPECT_NE(
        outcome.ranks[0].message.find("trainer_mpi.so do not exist: this program was built without MPI; build it with "
                                      "-DTRAINER_MPI=ON, or start the ranks with `--nproc`"),
        std::string::npos)
        << outcome.ranks[0].message;
}

}   // namespace
}   // namespace trainer::test
