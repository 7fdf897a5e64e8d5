#include "comm/machine.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "comm/socket.h"
#include "comm/solo.h"
#include "tests/support/thread_ranks.h"

namespace trainer::test {
namespace {

TEST(Machine, RanksOfOneMachineHaveTheirPlaces) {
    run_ranks(4, [](Communicator& ranks) {
        const Neighbourhood here = neighbourhood(ranks);
        EXPECT_EQ(here.place, ranks.rank());
        EXPECT_EQ(here.size, 4);
    });
    EXPECT_EQ(neighbourhood(*make_solo()).size, 1);
}

// Ranks 0 and 2 are told apart from rank 1 by their boot.
TEST(Machine, RanksOfSeveralMachinesAreCountedOnEach) {
    const std::filesystem::path nowhere = "/proc/self/no-such-root";
    run_ranks(3, [&](Communicator& ranks) {
        const Neighbourhood here = neighbourhood(ranks, ranks.rank() == 1 ? nowhere : "/");
        EXPECT_EQ(here.size, ranks.rank() == 1 ? 1 : 2);
        EXPECT_EQ(here.place, ranks.rank() == 2 ? 1 : 0);
    });
    EXPECT_EQ(machine_name(nowhere), own_host_name());
}

}   // namespace
}   // namespace trainer::test
