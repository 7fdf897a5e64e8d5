// A rank that is gone ends all others with 82, its name, within three seconds.
#include <gtest/gtest.h>

#include <algorithm>

#include <csignal>
#include <random>
#include <tuple>

#include "tests/comm/ranks.h"

namespace trainer::test {
namespace {

const std::vector<std::string> calls = {"all_to_all", "all_gather", "broadcast", "barrier", "all_reduce"};

class Loss : public testing::TestWithParam<Launcher> {
protected:
    void SetUp() override {
        if (GetParam() == Launcher::mpirun && !mpirun_missing().empty()) GTEST_SKIP() << mpirun_missing();
    }
    static void expect_lost(const std::vector<std::string>& scenario, int count, int lost) {
        const RanksOutcome outcome = run_ranks(GetParam(), count, scenario);
        EXPECT_EQ(complaint_about_loss(outcome, lost), "") << testing::PrintToString(scenario);
        if (GetParam() == Launcher::sockets) {
            EXPECT_EQ(outcome.exit_code, 82);
        }
    }
};

TEST_P(Loss, ByKillInEveryCall) {
    std::mt19937 random(GetParam() == Launcher::sockets ? 1 : 2);
    const int times = GetParam() == Launcher::sockets ? 6 : 1;
    for (int i = 0; i < times; ++i)
        for (const std::string& call : calls) {
            const int lost = static_cast<int>(random() % 3);
            expect_lost({"fault", "kill", std::to_string(lost), std::to_string(1 + random() % 20), call,
                         std::to_string(random() % 1500)},
                        3, lost);
        }
}

TEST_P(Loss, ByExitWithoutAWord) {
    for (const int lost : {0, 1}) expect_lost({"fault", "exit", std::to_string(lost), "5", "all_gather", "0"}, 3, lost);
}

TEST_P(Loss, WhileNobodyCalls) {
    for (const int lost : {0, 2}) expect_lost({"signal", std::to_string(lost), std::to_string(SIGKILL)}, 3, lost);
}

TEST_P(Loss, ByAnEarlyGoodbye) {
    for (const int lost : {0, 1}) {
        const RanksOutcome outcome = run_ranks(GetParam(), 3, {"leave", std::to_string(lost)});
        for (int rank = 0; rank < 3; ++rank) {
            if (rank == lost) continue;
            const RankResult& result = outcome.ranks[static_cast<std::size_t>(rank)];
            EXPECT_EQ(result.code, 82);
            EXPECT_TRUE(result.message.ends_with(" was lost: it ended while others still needed it")) << result.message;
        }
        EXPECT_LT(outcome.seconds, 8);
        EXPECT_EQ(outcome.left_behind, 0);
    }
}

TEST_P(Loss, ByAbandonTellsCodeAndReason) {
    for (const int first : {0, 2}) {
        const RanksOutcome outcome =
            run_ranks(GetParam(), 3, {"abandon", std::to_string(first), "74", "the disk is full"});
        EXPECT_EQ(outcome.exit_code, 74) << outcome.errors;
        for (int rank = 0; rank < 3; ++rank) {
            const RankResult& result = outcome.ranks[static_cast<std::size_t>(rank)];
            EXPECT_EQ(result.code, 74) << result.message;
            if (rank == first) continue;
            EXPECT_TRUE(result.message.starts_with("rank " + std::to_string(first) + " (")) << result.message;
            EXPECT_TRUE(result.message.ends_with(" ended the run: the disk is full")) << result.message;
        }
        EXPECT_EQ(outcome.left_behind, 0);
    }
}

// Only mpirun knows of it, and its first word to the others ends them.
TEST(LossWhileMpiStarts, EndsTheOthers) {
    if (!mpirun_missing().empty()) GTEST_SKIP() << mpirun_missing();
    for (const int lost : {0, 1}) {
        // A rank that mpirun ended before it came to open its communicator has nothing to say; then once more.
        RanksOutcome outcome;
        const auto are_all_heard = [&] {
            return std::all_of(outcome.ranks.begin(), outcome.ranks.end(),
                               [](const RankResult& result) { return result.code >= 0; });
        };
        for (int attempt = 0; attempt < 5 && !(attempt > 0 && are_all_heard()); ++attempt) {
            outcome = run_ranks(Launcher::mpirun, 3, {"vanish", std::to_string(lost)});
            EXPECT_EQ(outcome.left_behind, 0);
        }
        for (int rank = 0; rank < 3; ++rank) {
            if (rank == lost) continue;
            const RankResult& result = outcome.ranks[static_cast<std::size_t>(rank)];
            EXPECT_EQ(result.code, 82);
            EXPECT_EQ(result.message,
                      "the launcher ended the run while MPI started: a rank was lost, or it was told to stop");
            EXPECT_LE(result.time - outcome.ranks[static_cast<std::size_t>(lost)].time, 3);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Over, Loss, testing::Values(Launcher::sockets, Launcher::mpirun),
                         [](const auto& each) { return each.param == Launcher::sockets ? "Sockets" : "Mpi"; });

// A stopped process still has its connections; only its silence is seen.
TEST(Watch, HearsSilence) {
    const auto stop = [](int rank) {
        return start_ranks(Launcher::sockets, 3, {"signal", std::to_string(rank), std::to_string(SIGSTOP)});
    };
    StartedRanks first = stop(0), second = stop(1);
    for (const auto& [ranks, stopped, other] : {std::tuple(&first, 0, 2), std::tuple(&second, 1, 0)}) {
        ASSERT_TRUE(ranks->await_result(other, 10));
        const RankResult result = ranks->result(other);
        EXPECT_EQ(result.code, 82);
        EXPECT_TRUE(result.message.ends_with(" was lost: nothing was heard from it for 2.5 s")) << result.message;
        EXPECT_LT(result.time - ranks->result(stopped).time, 3.5);
    }
    const RanksOutcome outcome = second.wait(3);   // the launcher kills what still stands after 5 s
    EXPECT_EQ(outcome.exit_code, 82);
    EXPECT_EQ(outcome.left_behind, 0);
    EXPECT_LT(outcome.seconds, 12);
}

}   // namespace
}   // namespace trainer::test
