// Every collective call, over sockets and MPI.
#include <gtest/gtest.h>

#include "comm/collective.h"
#include "comm/solo.h"
#include "tests/comm/ranks.h"
#include "tests/support/faulty_ranks.h"

namespace trainer::test {
namespace {

class Collectives : public testing::TestWithParam<Launcher> {
protected:
    void SetUp() override {
        if (GetParam() == Launcher::mpirun && !mpirun_missing().empty()) GTEST_SKIP() << mpirun_missing();
    }
};

TEST_P(Collectives, BringTheRightBytes) {
    for (const int count : {1, 2, 3, 5, 8}) {
        const RanksOutcome outcome = run_ranks(GetParam(), count, {"collectives", std::to_string(17 * count), "2"});
        EXPECT_EQ(outcome.exit_code, 0) << count << " ranks: " << outcome.errors;
        for (const RankResult& rank : outcome.ranks) EXPECT_EQ(rank.code, 0) << rank.message;
        EXPECT_EQ(outcome.left_behind, 0);
    }
}

// A rank may leave long before or after the others: no loss, no hang.
TEST_P(Collectives, EndInGoodOrder) {
    for (const int seed : {1, 2}) {
        const RanksOutcome outcome = run_ranks(GetParam(), 3, {"depart", std::to_string(seed)});
        EXPECT_EQ(outcome.exit_code, 0) << outcome.errors;
        for (const RankResult& rank : outcome.ranks) EXPECT_EQ(rank.code, 0) << rank.message;
        EXPECT_LT(outcome.seconds, 5);
    }
}

INSTANTIATE_TEST_SUITE_P(Over, Collectives, testing::Values(Launcher::sockets, Launcher::mpirun),
                         [](const auto& each) { return each.param == Launcher::sockets ? "Sockets" : "Mpi"; });

TEST(Tcp, NamesRanksThatDoDifferentThings) {
    const RanksOutcome outcome = run_ranks(Launcher::sockets, 2, {"differ"});
    EXPECT_EQ(outcome.exit_code, 70);
    for (const RankResult& rank : outcome.ranks)
        EXPECT_NE(rank.message.find("the ranks differ in what they do"), std::string::npos) << rank.message;
}

TEST(Solo, CopiesWhatIsSentToOneself) {
    const auto ranks = make_solo();
    const std::vector<std::string> texts = gather_texts(*ranks, "alone");
    ASSERT_EQ(texts.size(), 1U);
    EXPECT_EQ(texts[0], "alone");
    EXPECT_EQ(sum(*ranks, 7), 7);
    EXPECT_TRUE(any(*ranks, true));
}

TEST(FaultyRanks, DoWhatTheyAreToldAtTheRightCall) {
    const auto ranks = make_solo();
    FaultyRanks faulty(*ranks, {{Fault::Kind::flip, 0, 2}, {Fault::Kind::error, 0, 3}, {Fault::Kind::flip, 1, 1}});
    EXPECT_EQ(gather_values(*ranks, {1.5}), std::vector<double>{1.5});
    std::vector<std::byte> in(4), out(4);
    const std::vector<std::span<std::byte>> receive = {in};
    faulty.all_gather(out, receive);
    EXPECT_EQ(in, out);
    faulty.all_gather(out, receive);
    EXPECT_NE(in, out);
    EXPECT_THROW(faulty.barrier(), std::runtime_error);
}

}   // namespace
}   // namespace trainer::test
