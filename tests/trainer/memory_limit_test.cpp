// Address space that does not suffice (ulimit -v), and threads that cannot be had.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "configs/error.h"
#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"

namespace trainer::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t mebibyte = std::size_t{1} << 20;

class MemoryLimit : public testing::Test {
protected:
    void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
        GTEST_SKIP() << "a sanitizer takes address space of its own";
#endif
        write_setup(folder.path());
    }
    ProgramResult run(const std::vector<std::string>& arguments, std::size_t mebibytes, int threads) const {
        std::filesystem::remove_all(folder / "out");
        return run_program(
            arguments, folder.path(),
            {.environment = {"OMP_NUM_THREADS=" + std::to_string(threads)}, .address_space = mebibytes * mebibyte});
    }
    ScratchFolder folder;
};

// From what the system's loader needs to what suffices.
TEST_F(MemoryLimit, EndsWithOneSentenceWhateverItIs) {
    for (const int threads : {1, 3}) {
        int failures = 0;
        ProgramResult result;
        std::size_t limit = 64;
        for (; limit < 1024; limit += limit / 10) {
            SCOPED_TRACE(std::to_string(limit) + " MiB, " + std::to_string(threads) + " threads");
            result = run({"run", "recipe.yaml"}, limit, threads);
            if (result.code == 0) break;
            if (result.code == 127 && result.err.find("shared librar") != std::string::npos) continue;   // the loader
            ++failures;
            ASSERT_THAT(result.code, AnyOf(81, 71)) << result.err;
            EXPECT_THAT(result.err, StartsWith("error: "));
            EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
            EXPECT_THAT(result.err, HasSubstr("ulimit -v"));
        }
        EXPECT_EQ(result.code, 0);
        EXPECT_GE(failures, 5);
    }
}

// The plan and its margin are compared with the limit before anything is trained.
TEST_F(MemoryLimit, IsDecidedBeforeTheFirstStep) {
    const std::vector<std::string> open = {"run", "recipe.yaml", "training.micro_batch=auto",
                                           "training.recompute=auto"};
    int refused = 0;
    ProgramResult result;
    for (std::size_t limit = 100; limit < 4096; limit += limit / 10) {
        SCOPED_TRACE(limit);
        std::filesystem::remove_all(folder / "out");
        result = run(open, limit, 1);
        if (result.code == 0 && result.out.find("micro_batch 4 ") != std::string::npos) break;
        if (result.code == 0) continue;   // with fewer rows, between the limits that refuse and those that take all
        if (result.err.find("the plan needs") == std::string::npos) continue;   // not even that far
        ++refused;
        EXPECT_EQ(result.code, 81);
        EXPECT_THAT(
            result.err,
            testing::MatchesRegex(
                "error: out of memory: with recompute: block and micro_batch: 1 the plan needs [0-9.]+ .iB "
                "\\(weights .*\\), with the margin [0-9.]+ MiB, and the limit of address space \\(ulimit -v\\) "
                "leaves [0-9.]+ .*B \\(address space is limited to [0-9]+ MiB: ulimit -v\\); raise the limit or "
                "make the work smaller \\(training.micro_batch, training.recompute, data.max_length\\)\n"));
        EXPECT_THAT(result.out, testing::Not(HasSubstr("step 1")));
        EXPECT_FALSE(std::filesystem::exists(folder / "out"));
    }
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_GE(refused, 3);
    EXPECT_THAT(result.out, HasSubstr("decided by memory: recompute none, micro_batch 4 (the limit of address space "
                                      "(ulimit -v) leaves "));
}

// Packed rows differ in length, so that every step needs products of other shapes, and code for them beside the
// tensors.
TEST_F(MemoryLimit, WhatIsDecidedLastsForTheWholeRun) {
    write_tiny_project(folder.path(), "steps: 10", 5, 5);
    const std::vector<std::string> open = {"run", "recipe.yaml", "training.micro_batch=auto"};
    for (const bool data : {false, true})
        for (const int threads : {1, 3}) {
            int refused = 0, finished = 0;
            for (std::size_t limit = 100; finished < 2 && limit < 1024; limit += 12) {
                SCOPED_TRACE(format("{} MiB of {}, {} threads", limit, data ? "data" : "address space", threads));
                std::filesystem::remove_all(folder / "out");
                const ProgramResult result = run_program(open, folder.path(),
                                                         {.environment = {"OMP_NUM_THREADS=" + std::to_string(threads)},
                                                          .address_space = data ? 0 : limit * mebibyte,
                                                          .data = data ? limit * mebibyte : 0});
                if (result.code == 0) {
                    ++finished;
                    continue;
                }
                ++refused;
                EXPECT_EQ(result.code, 81);
                EXPECT_THAT(result.err, HasSubstr("the plan needs"));
                EXPECT_THAT(result.err, HasSubstr(data ? "(ulimit -d) leaves" : "(ulimit -v) leaves"));
                EXPECT_THAT(result.err,
                            HasSubstr(format(data ? " (data is limited to {} MiB: ulimit -d); raise the limit or "
                                                  : " (address space is limited to {} MiB: ulimit -v); raise the limit "
                                                    "or ",
                                             limit)));
                EXPECT_THAT(result.out, testing::Not(HasSubstr("step 1/")));
                EXPECT_EQ(finished, 0);
            }
            EXPECT_GE(refused, 1);
            EXPECT_EQ(finished, 2);
        }
}

// A plan without a choice is compared with what a process can use of its limit.
TEST_F(MemoryLimit, AFixedMicroBatchThatStartsFinishes) {
    write_tiny_project(folder.path(), "steps: 10", 5, 5);
    for (const bool data : {false, true}) {
        int refused = 0, finished = 0;
        for (std::size_t limit = 64; finished < 2 && limit < 1024; limit += 6) {
            SCOPED_TRACE(format("{} MiB of {}", limit, data ? "data" : "address space"));
            std::filesystem::remove_all(folder / "out");
            const ProgramResult result = run_program({"run", "recipe.yaml"}, folder.path(),
                                                     {.environment = {"OMP_NUM_THREADS=1"},
                                                      .address_space = data ? 0 : limit * mebibyte,
                                                      .data = data ? limit * mebibyte : 0});
            if (result.code == 0) {
                ++finished;
                continue;
            }
            EXPECT_THAT(result.out, testing::Not(HasSubstr("step 1/"))) << result.err;
            EXPECT_EQ(finished, 0);
            refused += result.err.find("the plan needs") != std::string::npos;
        }
        EXPECT_GE(refused, 1);
        EXPECT_EQ(finished, 2);
    }
}

TEST_F(MemoryLimit, ThreadsThatCannotBeHad) {
    const ProgramResult result = run({"run", "recipe.yaml"}, 300, 500);
    EXPECT_EQ(result.code, 71);
    EXPECT_THAT(result.err,
                testing::MatchesRegex("error: only [0-9]+ of 500 threads can be started: .*; "
                                      "set OMP_NUM_THREADS to fewer or raise the limits of processes and address space "
                                      "\\(ulimit -u, ulimit -v\\)\n"));
    EXPECT_EQ(run({"list", "models"}, 300, 1).code, 0);
}

}   // namespace
}   // namespace trainer::test
