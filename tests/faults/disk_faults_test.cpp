// Every call that changes the disk, while checkpoints are saved and rotated, fails once: the run dies there, or the
// disk errs, is full, interrupts, or takes half.
#include "tests/faults/disk_faults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "configs/error.h"
#include "hub/output_file.h"
#include "tests/faults/saving.h"
#include "tests/support/tiny_model.h"
#include "trainer/checkpoint/folder_files.h"
#include "trainer/checkpoint/staged_folder.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

struct Attempt {
    int status = 0;   // of waitpid
    std::int64_t acknowledged = 0;
    DiskCount count;
};

// Runs the work in a child process with the fault. It acknowledges steps by writing them into a pipe.
Attempt attempt(const DiskPlan& plan, const std::function<int(const std::function<void(std::int64_t)>&)>& work) {
    int pipe[2];
    EXPECT_EQ(::pipe(pipe), 0);
    const DiskCount& count = arm_disk(plan);
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(work([&](std::int64_t step) {
            if (::write(pipe[1], &step, sizeof step) != sizeof step) ::_exit(99);
        }));
    disarm_disk();
    ::close(pipe[1]);
    Attempt result;
    std::int64_t step = 0;
    while (::read(pipe[0], &step, sizeof step) == sizeof step) result.acknowledged = step;
    ::close(pipe[0]);
    EXPECT_EQ(::waitpid(child, &result.status, 0), child);
    result.count = count;
    return result;
}

Attempt save(const fs::path& run, DiskFault fault = DiskFault::none, std::int64_t at = 0, bool onwards = false) {
    return attempt({run.string(), fault, at, onwards, false},
                   [&](const auto& acknowledge) { return save_checkpoints(run, acknowledge); });
}

// An error of the disk ends with 74, unless the call was a courtesy: removing what nobody needs, closing what was only
// read or only a lock.
bool may_be_ignored(const DiskCount& count) {
    return !count.on_writing || count.call == DiskCall::unlink ||
           (count.call == DiskCall::close && std::string(count.path).ends_with("/.lock"));
}

void expect_right_end(const Attempt& result, DiskFault fault) {
    if (fault == DiskFault::kill || fault == DiskFault::torn) {
        EXPECT_TRUE(WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGKILL);
        return;
    }
    ASSERT_TRUE(WIFEXITED(result.status));
    const int code = WEXITSTATUS(result.status);
    if (fault == DiskFault::interrupted || fault == DiskFault::short_write) {
        EXPECT_EQ(code, 0);
        EXPECT_EQ(result.acknowledged, last_step);
    } else if (!may_be_ignored(result.count) || code != 0) {
        EXPECT_EQ(code, 74);
    }
}

void expect_nothing_lost(const fs::path& run, std::int64_t acknowledged) {
    const Loss loss = loss_in(run, acknowledged);
    EXPECT_FALSE(loss.lost);
    EXPECT_FALSE(loss.wrong);
}

// The next start sweeps, goes on and ends as if nothing had happened.
void expect_recovery(const fs::path& run) {
    EXPECT_EQ(save_checkpoints(run, [](std::int64_t) {}), 0);
    expect_nothing_lost(run, last_step);
    EXPECT_THAT(names_in(run), ElementsAre("checkpoint-1", "checkpoint-" + std::to_string(last_step)));
}

class DiskFaults : public testing::Test {
protected:
    void SetUp() override { use_fast_temporary_folder(); }
};

void fail_every_call(DiskFault fault, bool onwards) {
    int met = 0;
    for (std::int64_t at = 1;; at += onwards ? 3 : 1) {
        SCOPED_TRACE("call " + std::to_string(at));
        const ScratchFolder run;
        const Attempt result = save(run.path(), fault, at, onwards);
        if (result.count.calls < at) break;
        SCOPED_TRACE(result.count.path);
        ++met;
        expect_right_end(result, fault);
        expect_nothing_lost(run.path(), result.acknowledged);
        expect_recovery(run.path());
        if (testing::Test::HasFailure()) return;
    }
    EXPECT_GE(met, 40);
    testing::Test::RecordProperty("faults", met);
}

TEST_F(DiskFaults, KilledAtEveryCall) { fail_every_call(DiskFault::kill, false); }
TEST_F(DiskFaults, KilledInEveryWrite) { fail_every_call(DiskFault::torn, false); }
TEST_F(DiskFaults, IoErrorAtEveryCall) { fail_every_call(DiskFault::io_error, false); }
TEST_F(DiskFaults, IoErrorsFromACallOn) { fail_every_call(DiskFault::io_error, true); }
TEST_F(DiskFaults, NoSpaceAtEveryCall) { fail_every_call(DiskFault::no_space, false); }
TEST_F(DiskFaults, NoSpaceFromACallOn) { fail_every_call(DiskFault::no_space, true); }
TEST_F(DiskFaults, EveryCallIsInterrupted) { fail_every_call(DiskFault::interrupted, false); }
TEST_F(DiskFaults, EveryWriteIsShort) { fail_every_call(DiskFault::short_write, false); }

// A fault while an earlier fault is being recovered from.
TEST_F(DiskFaults, DuringRecovery) {
    const ScratchFolder clean;
    const std::int64_t calls = save(clean.path()).count.calls;
    std::mt19937 random(7);
    for (int i = 0; i < 150; ++i) {
        const ScratchFolder run;
        std::int64_t acknowledged = 0;
        for (int fault = 0; fault < 3; ++fault) {
            const auto kind = fault == 0 || random() % 2 ? DiskFault::kill : DiskFault::io_error;
            const Attempt result = save(run.path(), kind, 1 + random() % calls);
            acknowledged = std::max(acknowledged, result.acknowledged);
            expect_nothing_lost(run.path(), acknowledged);
        }
        expect_recovery(run.path());
        ASSERT_FALSE(HasFailure()) << "round " << i;
    }
}

const std::vector<std::string> final_names = {"config.json", "model.safetensors", "finished"};

int write_final_files(const fs::path& run) {
    try {
        StagedFolder staged(run, "final", "abc");
        for (const std::string& name : final_names) write_file(staged.path() / name, name);
        staged.move_into_parent({"model.safetensors", "finished"});
        return 0;
    } catch (const Error& error) {
        return static_cast<int>(error.code());
    }
}

// The mark is never there without the rest, weights never without their configuration; and after an error that the
// program lives to see, nothing is there.
TEST_F(DiskFaults, FinalFilesAreWholeOrAbsent) {
    for (const DiskFault fault : {DiskFault::kill, DiskFault::io_error, DiskFault::no_space})
        for (std::int64_t at = 1;; ++at) {
            const ScratchFolder run;
            const Attempt result = attempt({run.path().string(), fault, at, false, false},
                                           [&](const auto&) { return write_final_files(run.path()); });
            if (result.count.calls < at) break;
            SCOPED_TRACE(result.count.path);
            std::size_t there = 0;
            for (; there < final_names.size() && fs::exists(run / final_names[there]); ++there)
                EXPECT_EQ(get_text(run / final_names[there]), final_names[there]);
            for (std::size_t i = there; i < final_names.size(); ++i) EXPECT_FALSE(fs::exists(run / final_names[i]));
            if (fault == DiskFault::kill) continue;
            ASSERT_TRUE(WIFEXITED(result.status));
            const int code = WEXITSTATUS(result.status);
            EXPECT_TRUE(code == 74 || (code == 0 && may_be_ignored(result.count))) << code;
            EXPECT_EQ(there, code == 0 ? final_names.size() : 0);
        }
}

// Under another program, by the environment.
TEST_F(DiskFaults, OfAnyProgram) {
    const ScratchFolder run;
    const std::string root = run.path().string();
    const auto shell = [&](const std::string& faults) {
        const std::string command = "LD_PRELOAD='" DISK_FAULTS_LIBRARY
                                    "' ASAN_OPTIONS=verify_asan_link_order=0 DISK_FAULT_ROOT='" +
                                    root + "' " + faults + " mkdir '" + root + "/out' 2> /dev/null";
        const int status = std::system(command.c_str());
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    };
    EXPECT_EQ(shell("DISK_FAULT=io_error DISK_FAULT_AT=1 DISK_FAULT_FIRED='" + root + "/fired'"), 1);
    EXPECT_THAT(names_in(run.path()), ElementsAre("fired"));
    EXPECT_EQ(shell("DISK_FAULT=kill DISK_FAULT_AT=1"), 137);
    EXPECT_EQ(shell("DISK_FAULT=io_error DISK_FAULT_AT=2"), 0);
    EXPECT_THAT(names_in(run.path()), ElementsAre("fired", "out"));
}

}   // namespace
}   // namespace trainer::test
