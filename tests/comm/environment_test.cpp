// What the environment says about ranks, and what it may not say.
#include "comm/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "configs/error.h"

namespace trainer::test {
namespace {

using Variables = std::map<std::string, std::string>;

// Sets exactly these of the variables that launchers set.
std::optional<Launched> launched_with(const Variables& variables) {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "PMIX_RANK",
                             "RANK",
                             "WORLD_SIZE",
                             "LOCAL_RANK",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "TORCHELASTIC_RUN_ID",
                             "TORCHELASTIC_USE_AGENT_STORE",
                             "TRAINER_JOIN_KEY",
                             "TRAINER_LISTEN_FD",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_STEP_NUM_TASKS",
                             "SLURM_LOCALID",
                             "SLURM_JOB_ID",
                             "SLURM_STEP_ID",
                             "SLURM_STEP_NODELIST"})
        ::unsetenv(name);
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    return launched_from_environment();
}

std::string mistake_with(const Variables& variables) {
    try {
        launched_with(variables);
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::usage);
        return error.what();
    }
    return "no error";
}

TEST(Environment, OfAProcessOnItsOwn) {
    EXPECT_FALSE(launched_with({}));
    EXPECT_FALSE(launched_with({{"MASTER_ADDR", "node1"}, {"MASTER_PORT", "29500"}}));
    EXPECT_FALSE(launched_with({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}})) << "a batch script, not srun";
    EXPECT_FALSE(launched_with({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}));
}

TEST(Environment, OfEveryLauncher) {
    auto launched = launched_with({{"RANK", "2"},
                                   {"WORLD_SIZE", "4"},
                                   {"LOCAL_RANK", "1"},
                                   {"MASTER_ADDR", "node1"},
                                   {"MASTER_PORT", "29500"},
                                   {"TORCHELASTIC_RUN_ID", "run"}});
    ASSERT_TRUE(launched);
    EXPECT_EQ(launched->by, Launched::By::sockets);
    EXPECT_EQ(launched->rank, 2);
    EXPECT_EQ(launched->size, 4);
    EXPECT_EQ(launched->local_rank, 1);
    EXPECT_EQ(launched->address, "node1");
    EXPECT_EQ(launched->port, 29500);
    EXPECT_EQ(launched->key, "run");

    launched = launched_with({{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "3"}, {"PMIX_RANK", "1"}});
    ASSERT_TRUE(launched);
    EXPECT_EQ(launched->by, Launched::By::mpi);
    EXPECT_EQ(launched->rank, 1);

    Variables slurm = {{"SLURM_PROCID", "3"},
                       {"SLURM_STEP_NUM_TASKS", "4"},
                       {"SLURM_LOCALID", "1"},
                       {"SLURM_JOB_ID", "1234"},
                       {"SLURM_STEP_NODELIST", "n[03-08,11]"}};
    launched = launched_with(slurm);
    ASSERT_TRUE(launched);
    EXPECT_EQ(launched->by, Launched::By::sockets);
    EXPECT_EQ(launched->address, "n03");
    EXPECT_EQ(launched->rank, 3);
    slurm["SLURM_STEP_NODELIST"] = "alpha,beta[1-2]";
    EXPECT_EQ(launched_with(slurm)->address, "alpha");
    slurm["PMIX_RANK"] = "3";
    EXPECT_EQ(launched_with(slurm)->by, Launched::By::mpi);
}

// torchrun under srun, one agent a node: torchrun's numbers count.
TEST(Environment, OfTorchrunUnderSlurm) {
    const auto launched = launched_with({{"SLURM_PROCID", "1"},
                                         {"SLURM_STEP_NUM_TASKS", "2"},
                                         {"RANK", "5"},
                                         {"WORLD_SIZE", "8"},
                                         {"MASTER_ADDR", "node1"},
                                         {"MASTER_PORT", "29500"},
                                         {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
    ASSERT_TRUE(launched);
    EXPECT_EQ(launched->rank, 5);
    EXPECT_EQ(launched->port, 29501) << "torchrun itself listens at MASTER_PORT";
}

TEST(Environment, MistakesNameTheVariables) {
    const std::vector<std::pair<Variables, std::string>> mistakes = {
        {{{"RANK", "1"}},
         "the environment variable RANK is set but WORLD_SIZE is not; a launcher sets both: unset the first or set the "
         "second"},
        {{{"WORLD_SIZE", "2"}},
         "the environment variable WORLD_SIZE is set but RANK is not; a launcher sets both: unset the first or set the "
         "second"},
        {{{"RANK", "one"}, {"WORLD_SIZE", "2"}},
         "the environment variable RANK is \"one\"; expected a whole number from 0 to 65535"},
        {{{"RANK", "0"}, {"WORLD_SIZE", "0"}},
         "the environment variable WORLD_SIZE is \"0\"; expected a whole number from 1 to 65536"},
        {{{"RANK", "2"}, {"WORLD_SIZE", "2"}},
         "the environment variable RANK is 2 but WORLD_SIZE is 2; ranks are numbered from 0 to 1"},
        {{{"RANK", "0"}, {"WORLD_SIZE", "2"}},
         "the environment variables RANK and WORLD_SIZE are set but MASTER_ADDR is not; set it to the host of rank 0"},
        {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node1"}},
         "the environment variable MASTER_ADDR is set but MASTER_PORT is not; a launcher sets both: unset the first or "
         "set "
         "the second"},
        {{{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "70000"}},
         "the environment variable MASTER_PORT is \"70000\"; expected a whole number from 1 to 65535"},
        {{{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"RANK", "0"}, {"WORLD_SIZE", "2"}},
         "the environment names two launchers: OMPI_COMM_WORLD_RANK 1 of OMPI_COMM_WORLD_SIZE 2, but RANK 0 of "
         "WORLD_SIZE "
         "2; unset one pair"},
        {{{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}},
         "srun started this process but SLURM_STEP_NODELIST is not set; use srun --mpi=pmix, or set MASTER_ADDR"},
        {{{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}, {"SLURM_STEP_NODELIST", "r[0-1]n[0-3]"}},
         "the host of rank 0 cannot be read from SLURM_STEP_NODELIST \"r[0-1]n[0-3]\"; use srun --mpi=pmix, or set "
         "MASTER_ADDR"},
    };
    for (const auto& [variables, message] : mistakes) EXPECT_EQ(mistake_with(variables), message);
    launched_with({});
}

}   // namespace
}   // namespace trainer::test
