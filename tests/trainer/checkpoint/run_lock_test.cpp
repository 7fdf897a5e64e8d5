#include "trainer/checkpoint/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "tests/support/tiny_model.h"
#include "tests/trainer/checkpoint/small_checkpoint.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using testing::MatchesRegex;

TEST(RunLock, RunIdsDiffer) {
    const std::string id = new_run_id();
    EXPECT_THAT(id, MatchesRegex("[0-9a-f]{16}"));
    EXPECT_NE(id, new_run_id());
}

TEST(RunLock, ASecondRunIsRefused) {
    const ScratchFolder run;
    {
        const RunLock lock(run.path(), "first");
        const Error error = error_of([&] { RunLock(run.path(), "second"); });
        EXPECT_EQ(error.code(), Exit::cannot_create);
        EXPECT_THAT(error.what(), MatchesRegex("output: " + run.path().string() +
                                               " is in use by another run: process " + std::to_string(::getpid()) +
                                               " on [^ ]+, started [0-9-]+T[0-9:]+Z, run first; "
                                               "wait for it, stop it, or choose another folder"));
    }
    EXPECT_TRUE(fs::is_empty(run.path()));
    RunLock(run.path(), "third");
}

TEST(RunLock, EndsWithItsProcess) {
    const ScratchFolder run;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const RunLock lock(run.path(), "killed");
        if (::write(ready[1], "x", 1) != 1) ::_exit(1);
        ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_EQ(error_of([&] { RunLock(run.path(), "second"); }).code(), Exit::cannot_create);
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    RunLock(run.path(), "second");
    ::close(ready[0]);
    ::close(ready[1]);
}

// One of many that start at once, again and again: never two have it together.
TEST(RunLock, OnlyOneOfManyHasIt) {
    const ScratchFolder run;
    void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto* const held = new (shared) std::atomic<bool>(false);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            int won = 0;
            for (int attempt = 0; attempt < 3000; ++attempt) {
                try {
                    const RunLock lock(run.path(), std::to_string(i));
                    if (held->exchange(true)) ::_exit(100);
                    ::sched_yield();
                    *held = false;
                    won = 1;
                } catch (const Error&) {
                }
            }
            ::_exit(won);
        }
        children.push_back(child);
    }
    int winners = 0;
    for (const pid_t child : children) {
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_LE(WEXITSTATUS(status), 1);
        winners += WEXITSTATUS(status);
    }
    EXPECT_GE(winners, 1);
    ::munmap(shared, 4096);
}

TEST(RunLock, DamagedAndForeignLockFiles) {
    const ScratchFolder run;
    for (const char* text : {"", "{", "[1, 2]", "{\"host\": 3}"}) {
        put_text(run / ".lock", text);
        const RunLock lock(run.path(), "x");
        put_text(run / ".lock", text);
        EXPECT_THAT(error_of([&] { RunLock(run.path(), "y"); }).what(),
                    ::testing::HasSubstr("is in use by another run"));
    }
    fs::create_symlink("elsewhere", run / ".lock");
    EXPECT_EQ(error_of([&] { RunLock(run.path(), "x"); }).code(), Exit::cannot_create);
    EXPECT_FALSE(fs::exists(run / "elsewhere"));
    EXPECT_EQ(error_of([&] { RunLock(run / "absent", "x"); }).what(),
              (run / "absent/.lock").string() + ": cannot be created: No such file or directory");
}

}   // namespace
}   // namespace trainer::test
