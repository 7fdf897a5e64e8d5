// Interrupted in order, at any step and in every way: a checkpoint, the exit code, and the same result after --resume.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

constexpr int steps = 30;
const Words thirty_steps = {"training.steps=30", "training.epochs=null", "checkpoint.every=7", "eval.every=4"};

struct Kind {
    const char* name;
    int signal;   // 0: a file STOP
    int code;
};
constexpr Kind kinds[] = {{"SIGTERM", SIGTERM, 75}, {"STOP", 0, 75}, {"SIGINT", SIGINT, 130}};

// Every launch is interrupted one step after the last one; the kinds alternate, beginning with `first`.
void interrupt_at_every_step(const PromiseProject& project, const RunResult& expected, int first) {
    const std::string output = "out" + std::to_string(first);
    for (int step = 1; step <= steps; ++step) {
        const Kind& kind = kinds[(step + first) % 3];
        SCOPED_TRACE(std::string(kind.name) + " at step " + std::to_string(step));
        const ProgramResult ended =
            project.run(output, {"--resume"},
                        kind.signal ? signal_at(step, kind.signal) : file_at(step, project / output / "STOP"));
        if (step == steps && ended.code == 0) break;   // nothing was left to do
        ASSERT_EQ(ended.code, kind.code) << ended.err;
        ASSERT_EQ(last_error(ended), "stopped after step " + std::to_string(step) +
                                         " of 30; go on with --resume from " + output + "/checkpoint-" +
                                         std::to_string(step));
        EXPECT_FALSE(fs::exists(project / output / "STOP"));
    }
    const ProgramResult last = project.run(output, {"--resume"});
    ASSERT_EQ(last.code, 0) << last.err;
    expect_same(project.result(output), expected);
}

TEST(Interrupted, AtEveryStep) {
    const PromiseProject project(thirty_steps);
    const RunResult expected = project.finish("whole");
    for (int first = 0; first < (campaign() ? 3 : 1); ++first) interrupt_at_every_step(project, expected, first);
}

// The last evaluation belongs to the result, so a signal that keeps it from being made is a reason to come again.
TEST(Interrupted, AtTheLastStep) {
    const PromiseProject project;
    const RunResult expected = project.finish("whole");
    for (const Kind& kind : kinds) {
        SCOPED_TRACE(kind.name);
        const std::string output = std::string("out-") + kind.name;
        const ProgramResult ended =
            project.run(output, {}, kind.signal ? signal_at(6, kind.signal) : file_at(6, project / output / "STOP"));
        EXPECT_TRUE(ended.code == 0 || ended.code == kind.code) << ended.err;
        expect_same(project.finish(output, {"--resume"}), expected);
        if (ended.code != 0) expect_same(project.result(output), expected);
    }
}

TEST(Interrupted, InTheMiddleOfAStepOfRanks) {
    const PromiseProject project;
    const RunResult expected = project.finish("whole");
    for (const Kind& kind : kinds) {
        if (kind.signal == 0) continue;
        SCOPED_TRACE(kind.name);
        const std::string output = std::string("out-") + kind.name;
        const ProgramResult ended = project.run(output, {"--nproc", "2"}, signal_at(2, kind.signal, 3000));
        EXPECT_EQ(ended.code, kind.code) << ended.err;
        expect_same(project.finish(output, {"--nproc", "2", "--resume"}), expected);
    }
}

TEST(Interrupted, BySlurmsWarning) {
    const PromiseProject project;
    const ProgramResult ended = project.run("out", {}, signal_at(3, SIGUSR1));
    EXPECT_EQ(ended.code, 75);
    EXPECT_EQ(last_error(ended), "stopped after step 3 of 6; go on with --resume from out/checkpoint-3");
}

TEST(Interrupted, BeforeSlurmsEnd) {
    const PromiseProject project({"training.steps=20000", "training.epochs=null"});
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto end = std::chrono::duration_cast<std::chrono::seconds>(now).count() + 8;
    const ProgramResult ended = project.run("out", {}, {"SLURM_JOB_END_TIME=" + std::to_string(end)});
    const auto after = std::chrono::system_clock::now().time_since_epoch();
    EXPECT_EQ(ended.code, 75) << ended.err;
    EXPECT_LT(std::chrono::duration<double>(after).count(), static_cast<double>(end) - 2);
    EXPECT_NE(last_error(ended).find("go on with --resume from out/checkpoint-"), std::string::npos);
}

TEST(Saved, OnRequestAndGoesOn) {
    const PromiseProject project({"checkpoint.every=4"});
    const RunResult expected = project.finish("whole");
    const ProgramResult ended = project.run("out", {}, file_at(5, project / "out/SAVE"));
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_TRUE(fs::exists(project / "out/checkpoint-5/trainer_manifest.json"));
    EXPECT_FALSE(fs::exists(project / "out/SAVE"));
    expect_same(project.result("out"), expected);
}

// There is nothing to save before the first step, so it is done after that.
TEST(Saved, OnARequestFromBeforeTheFirstStep) {
    const PromiseProject project({"checkpoint.every=4", "checkpoint.keep=9"});
    ASSERT_EQ(project.run("out", {}, signal_at(1, SIGKILL)).code, 128 + SIGKILL);
    put_text(project / "out/SAVE", "");
    const ProgramResult ended = project.run("out", {"--resume"});
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_TRUE(fs::exists(project / "out/checkpoint-1/trainer_manifest.json"));
    EXPECT_FALSE(fs::exists(project / "out/SAVE"));
}

// One step takes seconds; the first Ctrl-C would wait for its end.
TEST(Interrupted, AtOnceByASecondCtrlC) {
    const PromiseProject project({"data.valid=null", "training.batch=48", "data.packing=false"});
    write_tiny_model(project.path() / "model", {.hidden = 1024, .layers = 8, .intermediate = 2048});
    // Whether the second one came while the step ran; on a busy machine it may not have begun.
    const auto stops_at_once = [&](const Words& more, int patience) {
        const std::string output = (more.empty() ? "alone" : "two") + std::to_string(patience);
        Program program = project.start(output, more);
        while (program.running() && !fs::exists(project / output / "metrics.jsonl"))
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        std::this_thread::sleep_for(std::chrono::milliseconds(patience));
        program.signal(SIGINT);
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        const bool in_the_step = program.running();
        if (in_the_step) program.signal(SIGINT);
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_EQ(program.wait().code, 130);
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
        EXPECT_GE(project.wait_until_deserted(), 0);
        EXPECT_FALSE(fs::exists(project / output / "checkpoint-1"));
        return in_the_step;
    };
    for (const Words& more : {Words{}, Words{"--nproc", "2"}})
        EXPECT_TRUE(stops_at_once(more, 300) || stops_at_once(more, 900) || stops_at_once(more, 2700));
}

}   // namespace
}   // namespace trainer::test
