// The program itself: a run of a tiny model is killed, or its disk fails, at the n-th call; then it is resumed.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "configs/json.h"
#include "tests/faults/saving.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* recipe =
    "model: {base: model}\n"
    "data: {train: {path: train.jsonl, format: messages}, valid: {path: valid.jsonl, format: messages}}\n"
    "peft: {rank: 4}\n"
    "training: {steps: 4, batch: 4, micro_batch: 2, precision: f32}\n"
    "eval: {every: 3}\n"
    "checkpoint: {every: 2, keep: 1}\n"
    "output: out\n";

class ProgramFaults : public testing::Test {
protected:
    void SetUp() override {
        use_fast_temporary_folder();
        folder_.emplace();
        write_tiny_model(*folder_ / "model");
        put_text(*folder_ / "train.jsonl", tiny_chats(12));
        put_text(*folder_ / "valid.jsonl", tiny_chats(4, 9));
        put_text(*folder_ / "recipe.yaml", recipe);
    }

    // The exit code, 128 + signal when killed.
    int run(const std::string& environment, const std::string& options) const {
        const std::string command = "cd '" + folder_->path().string() + "' && OMP_NUM_THREADS=1 " + environment +
                                    " exec '" TRAINER_PROGRAM "' run recipe.yaml " + options + " > log 2>&1";
        const int status = std::system(command.c_str());
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }

    // What must not depend on what happened on the way: weights, and the numbers of each step.
    std::string result() const {
        std::string text = get_text(*folder_ / "out/adapter_model.safetensors");
        const std::string metrics = get_text(*folder_ / "out/metrics.jsonl");
        for (std::size_t begin = 0; begin < metrics.size(); begin = metrics.find('\n', begin) + 1) {
            const Node line = parse_json(metrics.substr(begin, metrics.find('\n', begin) - begin), "metrics.jsonl");
            for (const char* key : {"step", "loss", "grad_norm", "eval_loss", "num_input_tokens_seen"})
                if (const Node* value = line.find(key)) text += to_json(*value) + " ";
        }
        return text;
    }

    // Fails every `stride`-th call that changes the run's folder and resumes.
    void fail_and_resume(const std::string& fault, int stride, const std::string& options = "") {
        ASSERT_EQ(run("", ""), 0) << get_text(*folder_ / "log");
        const std::string expected = result();
        const fs::path fired = *folder_ / "fired";
        if (const char* wanted = std::getenv("PROGRAM_FAULT_STRIDE")) stride = std::atoi(wanted);
        int faults = 0, unnoticed = 0;
        for (int at = 1;; at += stride, ++faults) {
            SCOPED_TRACE(fault + " at call " + std::to_string(at));
            fs::remove_all(*folder_ / "out");
            fs::remove(fired);
            const int code =
                run("LD_PRELOAD='" DISK_FAULTS_LIBRARY
                    "' ASAN_OPTIONS=verify_asan_link_order=0 "
                    "DISK_FAULT_ROOT='" +
                        (*folder_ / "out").string() + "' DISK_FAULT=" + fault + " DISK_FAULT_AT=" + std::to_string(at) +
                        " DISK_FAULT_FIRED='" + fired.string() + "'",
                    options);
            if (!fs::exists(fired)) break;
            // An error may also come while the folder is made (73), or be of no account (0).
            EXPECT_TRUE(fault == "kill" ? code == 137 : code == 74 || code == 73 || code == 0) << code;
            unnoticed += code == 0;
            ASSERT_EQ(run("", options + " --resume"), 0) << get_text(*folder_ / "log");
            ASSERT_TRUE(result() == expected);
        }
        EXPECT_GE(faults, 10);
        EXPECT_LE(4 * unnoticed, faults) << unnoticed;
    }

    std::optional<ScratchFolder> folder_;
};

TEST_F(ProgramFaults, KilledThenResumed) { fail_and_resume("kill", 23); }
TEST_F(ProgramFaults, DiskErrorThenResumed) { fail_and_resume("io_error", 31); }
TEST_F(ProgramFaults, FullDiskWhileOptimizerIsOffloaded) {
    fail_and_resume("no_space", 67, "training.offload=optimizer");
}
TEST_F(ProgramFaults, DiskErrorWhileActivationsAreOffloaded) {
    fail_and_resume("io_error", 43, "training.recompute=block training.offload=activations");
}

}   // namespace
}   // namespace trainer::test
