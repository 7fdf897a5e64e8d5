// The result does not depend on the number of ranks, on what they share out, or on threads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "autograd/cpu/isa.h"
#include "comm/socket.h"
#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

constexpr const char* shardings[] = {"none", "optimizer", "gradients"};

Words on_ranks(int ranks, const std::string& sharding = "none") {
    return {"--nproc", std::to_string(ranks), "training.sharding=" + sharding};
}

// In CI every number of ranks and every sharding occurs.
bool tried(int ranks, int sharding) { return campaign() || ranks % 3 == sharding || ranks == 3; }

int free_port() { return port_of(listen_at(true, 0)); }

void expect_the_same_on_all_ranks(const PromiseProject& project) {
    const RunResult expected = project.finish("one");
    ASSERT_NE(expected.at("metrics").find("\"eval_loss\""), std::string::npos);
    for (const int ranks : {2, 3, 4, 8})
        for (int i = 0; i < 3; ++i) {
            if (!tried(ranks, i)) continue;
            const std::string output = std::to_string(ranks) + shardings[i];
            SCOPED_TRACE(output);
            expect_same(project.finish(output, on_ranks(ranks, shardings[i])), expected);
        }
}

TEST(Ranks, ChangeNoBit) { expect_the_same_on_all_ranks(PromiseProject()); }

TEST(Ranks, ChangeNoBitOfStrictFullFineTuning) {
    expect_the_same_on_all_ranks(PromiseProject({"peft=null", "training.determinism=strict"}));
}

TEST(Ranks, ChangeNoBitOnAQuantisedBase) {
    expect_the_same_on_all_ranks(PromiseProject({"model.quantize=nf4", "peft.method=dora"}));
}

TEST(Ranks, ChangeNoBitUnderMpirun) {
    if (std::system("command -v mpirun > /dev/null") != 0) GTEST_SKIP() << "there is no mpirun";
    const PromiseProject project;
    const RunResult expected = project.finish("one");
    const std::string command = "cd '" + project.path().string() +
                                "' && OMP_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                                "mpirun --oversubscribe -np 3 " TRAINER_PROGRAM
                                " run recipe.yaml output=three training.sharding=gradients > log 2>&1";
    ASSERT_EQ(std::system(command.c_str()), 0) << get_text(project / "log");
    expect_same(project.result("three"), expected);
}

// Started by hand, as ranks of machines with another processor would be.
TEST(Ranks, ComputeWithTheSetThatAllHave) {
    if (supported_isa() < Isa::v3) GTEST_SKIP() << "this machine has one instruction set only";
    const PromiseProject project;
    const RunResult expected = project.finish("lower", {}, {"TRAINER_ISA=v2"});
    EXPECT_NE(project.finish("higher").at("weights"), expected.at("weights"));
    for (const int older : {0, 1}) {
        const std::string output = "mixed" + std::to_string(older);
        const std::string port = "MASTER_PORT=" + std::to_string(free_port());
        const auto start = [&](int rank) {
            Words environment = {"RANK=" + std::to_string(rank), "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1", port};
            if (rank == older) environment.push_back("TRAINER_ISA=v2");
            return project.start(output, {}, environment);
        };
        Program first = start(0), second = start(1);
        const ProgramResult result = first.wait();
        EXPECT_EQ(result.code, 0) << result.err;
        EXPECT_EQ(second.wait().code, 0);
        EXPECT_THAT(result.err, testing::MatchesRegex("warning: all ranks compute with instruction set v2, the highest "
                                                      "that rank " +
                                                      std::to_string(older) + " \\(.*, process [0-9]+\\) has\n"));
        expect_same(project.result(output), expected);
    }
}

// The last step of an epoch has six leaves, fewer than the eight ranks.
TEST(Ranks, TheProjectHasPartialSteps) {
    const PromiseProject project;
    const ProgramResult run = project.run("out");
    EXPECT_NE(run.out.find("15 packs an epoch"), std::string::npos) << run.out;
    EXPECT_NE(run.out.find("steps: 6, 2 an epoch; sums are strict"), std::string::npos) << run.out;
}

void expect_the_same_through_a_chain(const PromiseProject& project) {
    const RunResult expected = project.finish("one");
    int step = 0;
    for (const auto& [ranks, sharding] : {std::pair(1, "none"), {3, "gradients"}, {2, "optimizer"}, {8, "gradients"}}) {
        Words more = on_ranks(ranks, sharding);
        more.push_back("--resume");
        const ProgramResult stopped = project.run("out", more, signal_at(++step, SIGTERM));
        ASSERT_EQ(stopped.code, 75) << ranks << " ranks: " << stopped.err;
    }
    expect_same(project.finish("out", {"--resume"}), expected);
}

TEST(Ranks, ChangeNoBitWhenTheirNumberChanges) { expect_the_same_through_a_chain(PromiseProject()); }

TEST(Ranks, ChangeNoBitOfStrictFullFineTuningWhenTheirNumberChanges) {
    expect_the_same_through_a_chain(PromiseProject({"peft=null", "training.determinism=strict"}));
}

TEST(Threads, ChangeNoBit) {
    for (const Words& overrides : {Words{}, Words{"peft=null", "training.determinism=strict"}}) {
        const PromiseProject project(overrides);
        const RunResult expected = project.finish("alone");
        for (const char* threads : {"2", "3", "5", "16"}) {
            SCOPED_TRACE(threads);
            expect_same(
                project.finish(std::string("threads") + threads, {}, {std::string("OMP_NUM_THREADS=") + threads}),
                expected);
        }
        expect_same(project.finish("ranks", on_ranks(3, "gradients"), {"OMP_NUM_THREADS=5"}), expected);
    }
}

}   // namespace
}   // namespace trainer::test
