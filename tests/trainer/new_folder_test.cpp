// Commands that write a folder of their own: all of it or nothing, and again after a kill.
#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "tests/trainer/program.h"
#include "tests/trainer/training.h"
#include "trainer/checkpoint/run_lock.h"

namespace trainer::test {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;
namespace fs = std::filesystem;

class NewFolders : public ::testing::Test {
protected:
    TinyProject project;
    const std::vector<Words> commands = {{"merge", "adapter", "--out", "written"},
                                         {"combine", "adapter", "adapter", "--weights", "1,1", "--out", "written"},
                                         {"export", "bitsandbytes", "model", "--out", "written"}};

    void SetUp() override {
        project.run({"checkpoint.every=null", "training.steps=2", "optimizer.lr=1e-2"});
        fs::rename(project.last_output(), project.path() / "adapter");
    }
    ProgramResult call(const Words& words, const ProgramOptions& options = {}) {
        return run_program(words, project.path(), options);
    }
    fs::path written() const { return project.path() / "written"; }
};

TEST_F(NewFolders, AFileBeyondTheLimitIsAnErrorAndNothingIsKept) {
    for (const Words& words : commands) {
        SCOPED_TRACE(words[0] + " " + words[1]);
        const ProgramResult result = call(words, {.file_size = 4096});
        EXPECT_EQ(result.code, 74) << result.err;
        EXPECT_THAT(result.err, HasSubstr("File too large"));
        EXPECT_FALSE(fs::exists(written()));
    }
}

TEST_F(NewFolders, WhatAKilledCommandLeftIsRemoved) {
    for (const Words& words : commands) {
        SCOPED_TRACE(words[0] + " " + words[1]);
        put_text(written() / ".lock", "");
        put_text(written() / ".tmp-merge-0123456789abcdef/model.safetensors", "a half");
        const ProgramResult result = call(words);
        EXPECT_EQ(result.code, 0) << result.err;
        for (const auto& entry : fs::directory_iterator(written()))
            EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
        fs::remove_all(written());
    }
}

TEST_F(NewFolders, AKilledMergeIsDoneAgain) {
    int killed = 0;
    for (int delay = 0; delay < 60; delay += 4) {
        SCOPED_TRACE(delay);
        Program program(commands[0], project.path());
        std::this_thread::sleep_for(std::chrono::milliseconds(delay));
        program.signal(SIGKILL);
        const bool done = program.wait().code == 0;
        killed += !done;
        if (!done && !fs::exists(written() / "model.safetensors")) {   // else it was killed between its moves
            const ProgramResult again = call(commands[0]);
            EXPECT_EQ(again.code, 0) << again.err;
        }
        fs::remove_all(written());
    }
    EXPECT_GT(killed, 0);
}

TEST_F(NewFolders, TheFolderOfALivingCommandIsLeftAlone) {
    put_text(written() / ".tmp-merge-0123456789abcdef/model.safetensors", "a half");
    const RunLock lock(written(), "first");
    const ProgramResult result = call(commands[0]);
    EXPECT_EQ(result.code, 73);
    EXPECT_THAT(result.err, HasSubstr("error: --out: written is in use by another run: process "));
    EXPECT_TRUE(fs::exists(written() / ".tmp-merge-0123456789abcdef/model.safetensors"));
}

// A reader that has seen enough.
TEST_F(NewFolders, AClosedOutputEndsNoCommandBeforeItsFilesAreThere) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    ::close(ends[0]);
    const std::string words =
        std::string(TRAINER_PROGRAM) + " merge adapter --out written >&" + std::to_string(ends[1]);
    const int status = std::system(("cd '" + project.path().string() + "' && " + words + " 2>errors").c_str());
    ::close(ends[1]);
    EXPECT_EQ(WEXITSTATUS(status), 74);
    EXPECT_EQ(get_text(project.path() / "errors"), "error: standard output cannot be written\n");
    EXPECT_TRUE(fs::exists(written() / "config.json"));
}

}   // namespace
}   // namespace trainer::test
