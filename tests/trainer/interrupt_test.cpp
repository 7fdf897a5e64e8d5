// Ctrl-C and full disks: nothing half-written stays behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "configs/json.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

// Waits until the condition holds; false after half a minute or when the program has ended.
template <typename Condition>
bool wait_for(Program& program, Condition condition) {
    for (int i = 0; i < 3000; ++i) {
        if (condition()) return true;
        if (!program.running()) return condition();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

std::ptrdiff_t lines_of(const fs::path& file) {
    const std::string text = get_text(file);
    return std::count(text.begin(), text.end(), '\n');
}

void expect_no_temporary_files(const fs::path& folder) {
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
}

// What programs started meanwhile find set for SIGHUP, however the tests themselves were started.
class HangUp {
public:
    explicit HangUp(sighandler_t handler) : before_(::signal(SIGHUP, handler)) {}
    ~HangUp() { ::signal(SIGHUP, before_); }
    HangUp(const HangUp&) = delete;
    HangUp& operator=(const HangUp&) = delete;

private:
    sighandler_t before_;
};

TEST(Interrupt, WhileTrainingWritesACheckpoint) {
    const HangUp inherited(SIG_DFL);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
        const ScratchFolder folder;
        write_setup(folder.path());
        Program program({"run", "recipe.yaml", "training.steps=1000000"}, folder.path());
        ASSERT_TRUE(wait_for(program, [&] { return lines_of(folder / "out/metrics.jsonl") >= 4; }));
        program.signal(number);
        const ProgramResult result = program.wait();
        EXPECT_EQ(result.code, number == SIGINT ? 130 : 75);

        const auto metrics = json_lines(get_text(folder / "out/metrics.jsonl"));
        const std::int64_t steps = metrics.back().at("step").as_integer();
        const std::string checkpoint = "out/checkpoint-" + std::to_string(steps);
        EXPECT_EQ(result.err, "error: stopped after step " + std::to_string(steps) +
                                  " of 1000000; go on with --resume from " + checkpoint + "\n");
        EXPECT_EQ(read_json(folder / (checkpoint + "/trainer_state.json")).at("global_step").as_integer(), steps);
        EXPECT_FALSE(fs::exists(folder / "out/adapter_model.safetensors"));
        expect_no_temporary_files(folder.path());
        const ProgramResult answer = run_program(
            {"generate", "model", "--adapter", checkpoint, "--prompt", "a", "--max-tokens", "2"}, folder.path());
        EXPECT_EQ(answer.code, 0) << answer.err;
    }
}

// As nohup starts it: the terminal's end is not the run's.
TEST(Interrupt, ByALostTerminalOnlyWhereItIsNotIgnored) {
    const HangUp inherited(SIG_IGN);
    for (const std::vector<std::string>& ranks : {std::vector<std::string>{}, {"--nproc", "2"}}) {
        const ScratchFolder folder;
        write_setup(folder.path());
        std::vector<std::string> arguments = {"run", "recipe.yaml", "training.steps=1000000"};
        arguments.insert(arguments.end(), ranks.begin(), ranks.end());
        Program program(arguments, folder.path());
        const auto steps = [&] { return lines_of(folder / "out/metrics.jsonl"); };
        ASSERT_TRUE(wait_for(program, [&] { return steps() >= 4; }));
        program.signal(SIGHUP);
        const std::ptrdiff_t then = steps();
        EXPECT_TRUE(wait_for(program, [&] { return steps() >= then + 20; }));
        program.signal(SIGTERM);
        EXPECT_EQ(program.wait().code, 75);
    }
}

TEST(Interrupt, BeforeTheFirstStepLeavesNothing) {
    const ScratchFolder folder;
    write_setup(folder.path());
    put_text(folder / "valid.jsonl", tiny_chats(20000, 9));
    for (const bool existed : {false, true}) {
        if (existed) fs::create_directory(folder / "out");
        Program program({"run", "recipe.yaml"}, folder.path());
        ASSERT_TRUE(wait_for(program, [&] { return fs::exists(folder / "out/metrics.jsonl"); }));
        program.signal(SIGINT);
        const ProgramResult result = program.wait();
        EXPECT_EQ(result.code, 130);
        EXPECT_EQ(result.err, "error: stopped before the first step; nothing was learned\n");
        EXPECT_EQ(fs::exists(folder / "out"), existed);
        EXPECT_TRUE(!existed || fs::is_empty(folder / "out"));
    }
}

// The data comes through a pipe that nobody fills.
TEST(Interrupt, WhileDataIsReadLeavesNothing) {
    const ScratchFolder folder;
    write_setup(folder.path());
    fs::remove(folder / "train.jsonl");
    ASSERT_EQ(::mkfifo((folder / "train.jsonl").c_str(), 0600), 0);
    for (const auto& [number, code] : {std::pair(SIGINT, 130), {SIGUSR1, 75}}) {
        Program program({"run", "recipe.yaml"}, folder.path());
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        ASSERT_TRUE(program.running());
        program.signal(number);
        EXPECT_EQ(program.wait().code, code);
        EXPECT_FALSE(fs::exists(folder / "out"));
    }
}

TEST(FullDisk, IsAnErrorOfItsOwn) {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting a small disk needs root";
    const ScratchFolder folder;
    write_setup(folder.path());
    for (const char* size : {"size=4k", "size=16k"}) {   // too small for the recipe, for the adapter
        const fs::path disk = folder / "disk";
        fs::create_directory(disk);
        if (::mount("none", disk.c_str(), "tmpfs", 0, size) != 0) GTEST_SKIP() << "this machine does not let us mount";
        const ProgramResult result = run_program({"run", "recipe.yaml", "output=disk/out"}, folder.path());
        EXPECT_EQ(result.code, 74) << result.out;
        EXPECT_TRUE(result.err.starts_with("error: disk/out")) << result.err;
        EXPECT_TRUE(result.err.ends_with(": No space left on device\n") ||
                    result.err.find("needs ") != std::string::npos)
            << result.err;
        expect_no_temporary_files(disk);
        ::umount(disk.c_str());
        fs::remove(disk);
    }
}

// The optimizer's state of all weights needs more than the disk has, which is said before the first step.
TEST(FullDisk, WhereTheOptimizerIsOffloadedTo) {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting a small disk needs root";
    const ScratchFolder folder;
    write_setup(folder.path());
    const fs::path disk = folder / "disk";
    fs::create_directory(disk);
    if (::mount("none", disk.c_str(), "tmpfs", 0, "size=128k") != 0)
        GTEST_SKIP() << "this machine does not let us mount";
    const ProgramResult result = run_program(
        {"run", "recipe.yaml", "output=disk/out", "peft=null", "training.offload=optimizer"}, folder.path());
    EXPECT_EQ(result.code, 74) << result.out;
    EXPECT_THAT(result.err, testing::MatchesRegex("error: disk/out: needs [0-9.]+ KiB, [0-9.]+ KiB free on .*\n"));
    EXPECT_EQ(result.out.find("step 1"), std::string::npos);
    ::umount(disk.c_str());
}

// Every checkpoint has the metrics so far. Of 4,000 steps they take more than all that such a small adapter needs.
TEST(FullDisk, CountsTheMetricsOfCheckpoints) {
    if (::geteuid() != 0) GTEST_SKIP() << "mounting a small disk needs root";
    const ScratchFolder folder;
    write_setup(folder.path());
    const fs::path disk = folder / "disk";
    fs::create_directory(disk);
    if (::mount("none", disk.c_str(), "tmpfs", 0, "size=8m") != 0) GTEST_SKIP() << "this machine does not let us mount";
    const auto run = [&](const std::string& steps, const std::string& every,
                         const std::vector<std::string>& more = {"eval.every=1000"}) {
        std::vector<std::string> words = {"run",
                                          "recipe.yaml",
                                          "output=disk/out",
                                          "training.steps=" + steps,
                                          "checkpoint.every=" + every,
                                          "checkpoint.keep=3"};
        words.insert(words.end(), more.begin(), more.end());
        return run_program(words, folder.path());
    };
    const ProgramResult result = run("4000", "1000");
    EXPECT_EQ(result.code, 74) << result.out;
    EXPECT_THAT(result.err, testing::MatchesRegex("error: disk/out: needs 1[0-9.]+ MiB, [0-9.]+ MiB free on .*\n"));
    EXPECT_EQ(result.out.find("step 1"), std::string::npos);
    EXPECT_EQ(run("20", "5").code, 0);
    fs::remove_all(disk / "out");
    // So many steps are only the most that a run with patience takes.
    EXPECT_EQ(run("4000", "1000", {"eval.every=2", "eval.patience=1", "optimizer.lr=1e-30"}).code, 0);
    ::umount(disk.c_str());
}

TEST(FullDisk, OfStandardOutputIsSeen) {
    const int status = std::system("'" TRAINER_PROGRAM "' schema > /dev/full 2> /dev/null");
    EXPECT_EQ(WEXITSTATUS(status), 74);
}

}   // namespace
}   // namespace trainer::test
