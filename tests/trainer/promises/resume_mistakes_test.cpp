// What --resume refuses, with its message and exit code, and what it allows.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// Standard error without the lines of warnings.
std::string errors(const ProgramResult& result) {
    std::istringstream lines(result.err);
    std::string text;
    for (std::string line; std::getline(lines, line);)
        if (!line.starts_with("warning: ")) text += line + "\n";
    return text;
}

void flip_a_bit(const fs::path& file) {
    std::string content = get_text(file);
    content[content.size() / 2] ^= 4;
    put_text(file, content);
}

// A run that was stopped after step 5 of 6, with checkpoints 3, 4 and 5.
class Resume : public ::testing::Test {
protected:
    Resume() {
        expected = project.finish("whole");
        EXPECT_EQ(project.run("half", {}, signal_at(5, SIGTERM)).code, 75);
    }

    // A copy of it.
    std::string half() {
        const std::string name = "half" + std::to_string(++copies_);
        fs::copy(project / "half", project / name, fs::copy_options::recursive);
        return name;
    }

    void expect_refused(const Words& more, int code, const std::string& message, const Words& environment = {}) {
        const std::string output = half();
        Words all = more;
        all.push_back("--resume");
        const ProgramResult result = project.run(output, all, environment);
        EXPECT_EQ(result.code, code);
        EXPECT_THAT(errors(result), MatchesRegex(message)) << ::testing::PrintToString(more);
        EXPECT_EQ(get_text(project / (output + "/metrics.jsonl")), get_text(project / "half/metrics.jsonl"));
        EXPECT_TRUE(fs::exists(project / (output + "/checkpoint-5/trainer_manifest.json")));
    }

    PromiseProject project;
    RunResult expected;

private:
    int copies_ = 0;
};

TEST_F(Resume, RefusesAChangedRecipe) {
    expect_refused({"optimizer.lr=1e-3", "training.seed=7", "training.determinism=repeatable"}, 85,
                   "error: half1/checkpoint-5: the recipe would give another result:\n"
                   "error:   optimizer.lr: 0.005 before, 0.001 now\n"
                   "error:   training.determinism: strict before, repeatable now\n"
                   "error:   training.seed: 42 before, 7 now\n"
                   "error: take the changes back, or start a new run in another output\n");
    expect_refused({"training.batch=12"}, 85,
                   "error: half2/checkpoint-5: the recipe would give another result:\n"
                   "error:   training.batch: 9 before, 12 now\n"
                   "error: take the changes back, or start a new run in another output\n");
}

TEST_F(Resume, RefusesOtherData) {
    put_text(project / "train.jsonl", tiny_chats(48, 8));
    expect_refused({}, 85,
                   "error: half1/checkpoint-5: the rows of the data, as tokens, are not those the run began with "
                   "\\(SHA-256 [0-9a-f]+ before, [0-9a-f]+ now\\)\n");
}

TEST_F(Resume, RefusesAnotherBase) {
    write_tiny_model(project / "model", {.seed = 5});
    expect_refused({}, 85,
                   "error: half1/checkpoint-5: the base model's files are not those the run began with "
                   "\\(SHA-256 [0-9a-f]+ before, [0-9a-f]+ now\\)\n");
}

TEST_F(Resume, RefusesOtherNumericsUnlessAllowed) {
    expect_refused({}, 85,
                   "error: half1/checkpoint-5: computed with .*, here it would be v3, .*; the result would have other "
                   "bits\\. Go on there, or allow it with --allow-numerics-change\n",
                   {"TRAINER_ISA=v3"});
    const ProgramResult allowed = project.run("half", {"--resume", "--allow-numerics-change"}, {"TRAINER_ISA=v3"});
    EXPECT_EQ(allowed.code, 0) << allowed.err;
    EXPECT_THAT(allowed.out, HasSubstr("resuming from checkpoint-5: step 5 of 6\n"));
}

TEST_F(Resume, AllowsWhatChangesNoResult) {
    fs::copy(project / "train.jsonl", project / "moved.jsonl");
    fs::copy(project / "model", project / "moved_model", fs::copy_options::recursive);
    for (const char* change : {"logging.every=3", "checkpoint.keep=5", "training.recompute=block",
                               "data.train.path=moved.jsonl", "model.base=moved_model"}) {
        SCOPED_TRACE(change);
        expect_same(project.finish(half(), {change, "--resume"}), expected);
    }
    EXPECT_EQ(project.finish(half(), {"eval.every=2", "--resume"})["weights"], expected.at("weights"));
}

TEST_F(Resume, GoesOnWhereTheFolderWasMoved) {
    fs::create_directory(project / "runs");
    fs::rename(project / "half", project / "runs/other");
    fs::copy(project / "runs/other", project / "runs/third", fs::copy_options::recursive);
    expect_same(project.finish("runs/other", {"--resume", "runs/other/checkpoint-4"}), expected);
    const ProgramResult third = project.run("runs/third", {"--resume=runs/third/checkpoint-4"});
    EXPECT_THAT(third.out, HasSubstr("resuming from checkpoint-4: step 4 of 6\n"));
    expect_same(project.result("runs/third"), expected);
}

TEST_F(Resume, SkipsWhatDoesNotVerify) {
    const std::string output = half();
    flip_a_bit(project / (output + "/checkpoint-5/optimizer.safetensors"));
    fs::remove(project / (output + "/checkpoint-4/training_state.json"));
    const ProgramResult result = project.run(output, {"--resume"});
    EXPECT_EQ(result.code, 0);
    EXPECT_THAT(result.err, MatchesRegex("warning: skipped checkpoint-5: half1/checkpoint-5/optimizer.safetensors: "
                                         "SHA-256 is [0-9a-f]+, the manifest says [0-9a-f]+\n"
                                         "warning: skipped checkpoint-4: half1/checkpoint-4/training_state.json: is "
                                         "missing\n"));
    EXPECT_THAT(result.out, HasSubstr("resuming from checkpoint-3: step 3 of 6\n"));
    expect_same(project.result(output), expected);
}

// Found before the first step, not when the run comes to step 5 again.
TEST_F(Resume, RefusesALinkInTheWayOfACheckpoint) {
    fs::rename(project / "half/checkpoint-5", project / "archive");
    fs::create_directory_symlink(project / "archive", project / "half/checkpoint-5");
    const std::string metrics = get_text(project / "half/metrics.jsonl");
    const ProgramResult result = project.run("half", {"--resume"});
    EXPECT_EQ(result.code, 73);
    EXPECT_EQ(
        result.err,
        "warning: skipped checkpoint-5: half/checkpoint-5: is not a folder\n"
        "error: half/checkpoint-5: is a symbolic link, so checkpoint 5 could not be put there; remove it, or move "
        "the folder itself here\n");
    EXPECT_EQ(get_text(project / "half/metrics.jsonl"), metrics);
    fs::remove(project / "half/checkpoint-5");
    fs::rename(project / "archive", project / "half/checkpoint-5");
    expect_same(project.finish("half", {"--resume"}), expected);
}

// What is damaged may be all that is left of a long run.
TEST_F(Resume, RefusesToStartAgainWhenNoneVerifies) {
    for (const char* name : {"3", "4", "5"})
        flip_a_bit(project / ("half/checkpoint-" + std::string(name) + "/adapter_model.safetensors"));
    const ProgramResult result = project.run("half", {"--resume"});
    EXPECT_EQ(result.code, 84);
    for (const char* name : {"3", "4", "5"})
        EXPECT_THAT(result.err, HasSubstr("warning: skipped checkpoint-" + std::string(name) + ": half/checkpoint-" +
                                          name + "/adapter_model.safetensors: SHA-256 is "));
    EXPECT_THAT(result.err, HasSubstr("error: --resume: none of the 3 checkpoints in half can be used; repair one, or "
                                      "start again in another output\n"));
    for (const char* name : {"3", "4", "5"})
        EXPECT_TRUE(fs::exists(project / ("half/checkpoint-" + std::string(name))));
}

TEST_F(Resume, MakesMetricsAgainAsTheCheckpointHoldsThem) {
    const std::string whole = get_text(project / "half/metrics.jsonl");
    for (const std::string& text : {std::string(), whole.substr(0, 1000), whole.substr(whole.find('\n') + 1),
                                    std::string(5000, 'x'), whole + whole}) {
        const std::string output = half();
        put_text(project / (output + "/metrics.jsonl"), text);
        expect_same(project.finish(output, {"--resume"}), expected);
    }
    const std::string output = half();
    fs::remove(project / (output + "/metrics.jsonl"));
    expect_same(project.finish(output, {"--resume"}), expected);
}

// What the run commits after it went back stays, and what it left behind goes.
TEST_F(Resume, GoesBackToAnOlderCheckpoint) {
    ASSERT_EQ(project.run("half", {"checkpoint.keep=1", "--resume", "half/checkpoint-3"}, signal_at(4, SIGTERM)).code,
              75);
    EXPECT_TRUE(fs::exists(project / "half/checkpoint-4/trainer_manifest.json"));
    EXPECT_FALSE(fs::exists(project / "half/checkpoint-5"));
    expect_same(project.finish("half", {"--resume"}), expected);
}

TEST_F(Resume, OfAFinishedRunWithoutItsResultIsRefused) {
    fs::remove(project / "whole/adapter_model.safetensors");
    const ProgramResult result = project.run("whole", {"--resume"});
    EXPECT_EQ(result.code, 84);
    EXPECT_EQ(result.err,
              "error: whole/adapter_model.safetensors: is missing, although the run is finished; to make it again from "
              "the newest checkpoint, remove whole/receipt.json\n");
    fs::remove(project / "whole/receipt.json");
    expect_same(project.finish("whole", {"--resume"}), expected);
}

TEST_F(Resume, RefusesAFolderThatIsNoCheckpoint) {
    const auto refuses = [&](const std::string& folder, int code, const std::string& message) {
        const ProgramResult result = project.run("half", {"--resume", folder});
        EXPECT_EQ(result.code, code);
        EXPECT_EQ(result.err, "error: " + message + "\n");
    };
    refuses("gone", 66, "--resume: there is no folder gone");
    refuses("model", 64,
            "--resume: model is neither the recipe's output half nor a checkpoint in it; set output to its run");
    refuses("whole/checkpoint-4", 64,
            "--resume: whole/checkpoint-4 is neither the recipe's output half nor a checkpoint in it; set output to "
            "its run");
    fs::remove(project / "half/checkpoint-5/trainer_manifest.json");
    const ProgramResult spoilt = project.run("half", {"--resume", "half/checkpoint-5"});
    EXPECT_EQ(spoilt.code, 84);
    EXPECT_THAT(spoilt.err, MatchesRegex("error: [^ ]*half/checkpoint-5: has no trainer_manifest.json\n"));
    EXPECT_TRUE(fs::exists(project / "half/checkpoint-4"));
}

TEST_F(Resume, OfAFinishedRunSaysSo) {
    const std::string weights = get_text(project / "whole/adapter_model.safetensors");
    for (const Words& more : {Words{"--resume"}, Words{"--resume", "--nproc", "2"}}) {
        const ProgramResult result = project.run("whole", more);
        EXPECT_EQ(result.code, 0);
        EXPECT_EQ(result.out, "whole: this run is finished; there is nothing to do\n");
    }
    const ProgramResult changed = project.run("whole", {"optimizer.lr=1e-3", "--resume"});
    EXPECT_EQ(changed.code, 85);
    EXPECT_EQ(changed.err,
              "error: whole holds a finished run of another recipe:\n"
              "error:   optimizer.lr: 0.005 before, 0.001 now\n"
              "error: choose another output\n");
    EXPECT_EQ(get_text(project / "whole/adapter_model.safetensors"), weights);
}

TEST(ResumeOfRepeatableSums, RefusesAnotherNumberOfRanks) {
    const PromiseProject project({"peft=null"});
    const RunResult expected = project.finish("whole", {"--nproc", "2"});
    EXPECT_EQ(project.run("half", {"--nproc", "2"}, signal_at(3, SIGTERM)).code, 75);
    const ProgramResult refused = project.run("half", {"--nproc", "3", "--resume"});
    EXPECT_EQ(refused.code, 85);
    EXPECT_EQ(
        refused.err,
        "error: half/checkpoint-3: written by 2 ranks, now there are 3; with training.determinism: repeatable the "
        "result would have other bits. Use as many, or allow it with --allow-numerics-change\n");
    expect_same(project.finish("half", {"--nproc", "2", "--resume"}), expected);
}

TEST(TwoRuns, InOneFolder) {
    const PromiseProject project({"training.steps=20000", "training.epochs=null"});
    Program first = project.start("out");
    while (first.running() && !fs::exists(project / "out/checkpoint-2"))
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const ProgramResult second = project.run("out", {"--resume"});
    EXPECT_EQ(second.code, 73);
    EXPECT_THAT(second.err,
                MatchesRegex("error: output: out is in use by another run: process " + std::to_string(first.process()) +
                             " on [^ ]+, started [0-9TZ:-]+, run [0-9a-f]+; wait for it, stop it, or choose another "
                             "folder\n"));
    EXPECT_EQ(project.run("out").code, 73);
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait().code, 75);
}

TEST(RanksOfOneRun, TooManyForTheLeaves) {
    const PromiseProject project({"training.micro_batch=3"});
    const ProgramResult result = project.run("out", {"--nproc", "5"});
    EXPECT_EQ(result.code, 78);
    EXPECT_EQ(
        result.err,
        "error: training.micro_batch: 9 rows a step in leaves of 3 are 3 leaves, too few for 5 ranks; the largest "
        "micro_batch that fits is 2\n");
    EXPECT_FALSE(fs::exists(project / "out"));
}

int free_port() {
    const int number = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(number, reinterpret_cast<sockaddr*>(&address), size), 0);
    ::getsockname(number, reinterpret_cast<sockaddr*>(&address), &size);
    ::close(number);
    return ntohs(address.sin_port);
}

// Two ranks started by hand, the second with something else.
void expect_disagreement(const PromiseProject& project, const Words& of_second, const std::string& message) {
    const std::string port = std::to_string(free_port());
    const auto environment = [&](const char* rank) {
        return Words{std::string("RANK=") + rank, std::string("LOCAL_RANK=") + rank, "WORLD_SIZE=2",
                     "MASTER_ADDR=127.0.0.1", "MASTER_PORT=" + port};
    };
    Program first = project.start("out", {}, environment("0"));
    Program second = project.start("out", of_second, environment("1"));
    const ProgramResult of_first = first.wait();
    EXPECT_EQ(second.wait().code, 78);
    EXPECT_EQ(of_first.code, 78);
    EXPECT_THAT(of_first.err, MatchesRegex(message));
    EXPECT_FALSE(fs::exists(project / "out"));
}

TEST(RanksOfOneRun, Disagree) {
    const PromiseProject project;
    expect_disagreement(project, {"optimizer.lr=1e-3"},
                        "error: rank 1 \\([^ ]+, process [0-9]+\\): recipe differs from rank 0's: found [0-9a-f]+, "
                        "expected [0-9a-f]+\n");
    put_text(project / "other.jsonl", tiny_chats(48, 8));
    expect_disagreement(project, {"data.train.path=other.jsonl"},
                        "error: rank 1 \\([^ ]+, process [0-9]+\\): data differs from rank 0's: found [0-9a-f]+, "
                        "expected [0-9a-f]+\n");
    expect_disagreement(project, {"output=elsewhere"},
                        "error: rank 1 \\([^ ]+, process [0-9]+\\): output differs from rank 0's: found .*/elsewhere, "
                        "expected .*/out\n");
}

}   // namespace
}   // namespace trainer::test
