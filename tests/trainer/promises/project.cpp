#include "tests/trainer/promises/project.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "configs/json.h"
#include "tests/trainer/training.h"
#include "trainer/checkpoint/store.h"

namespace trainer::test {

namespace fs = std::filesystem;

namespace {

constexpr const char* of_time_and_place[] = {"tokens_per_second", "step_seconds", "memory", "ranks",
                                             "local_tokens",      "eval_runtime"};

std::string without_time_and_place(Node line) {
    for (const char* key : of_time_and_place) line.erase(key);
    return to_json(line);
}

std::string lasting_part(Node trainer_state) {
    std::string text;
    for (const Node& entry : trainer_state.at("log_history").as_list()) text += without_time_and_place(entry) + "\n";
    const Node& best = trainer_state.at("best_model_checkpoint");
    text += best.is_null() ? "none" : fs::path(best.as_string()).filename().string();
    for (const char* key : {"log_history", "best_model_checkpoint"}) trainer_state.erase(key);
    return text + to_json(trainer_state);
}

// Complains of the first line that differs only.
void expect_same_lines(const std::string& part, const std::string& found, const std::string& expected) {
    std::istringstream one(found);
    std::istringstream other(expected);
    std::string line_found;
    std::string line_expected;
    while (std::getline(other, line_expected)) {
        if (!std::getline(one, line_found)) line_found = "(nothing)";
        ASSERT_EQ(line_found, line_expected) << part;
    }
    EXPECT_FALSE(std::getline(one, line_found)) << part << " has more lines, the first: " << line_found;
}

// What a killed process wrote stays in memory as well as on disk, where it takes longer.
ScratchFolder folder_in_memory() {
    if (!std::getenv("TMPDIR") && fs::exists("/dev/shm")) ::setenv("TMPDIR", "/dev/shm", 1);
    return ScratchFolder();
}

// A file of /proc, "" when the process has ended.
std::string process_file(pid_t process, const char* name) {
    try {
        return get_text("/proc/" + std::to_string(process) + "/" + name);
    } catch (const std::exception&) {
        return "";
    }
}

}   // namespace

int kills(const char* variable, int in_ci) {
    const char* text = std::getenv(variable);
    return text ? std::atoi(text) : in_ci;
}

bool campaign() { return std::getenv("TRAINER_CAMPAIGN") != nullptr; }

void expect_same(const RunResult& found, const RunResult& expected) {
    ASSERT_FALSE(expected.empty());
    for (const auto& [part, content] : expected) {
        const auto other = found.find(part);
        ASSERT_TRUE(other != found.end()) << part << " is missing";
        if (part.ends_with("weights") || part.ends_with("safetensors"))
            EXPECT_TRUE(other->second == content) << part << " differ";
        else
            expect_same_lines(part, other->second, content);
    }
}

PromiseProject::PromiseProject(Words overrides) : folder_(folder_in_memory()), overrides_(std::move(overrides)) {
    write_tiny_project(path(), "epochs: 3", 3, 2);
}

Program PromiseProject::start(const std::string& output, const Words& more, const Words& environment) const {
    Words arguments = {"run", "recipe.yaml", "output=" + output};
    arguments.insert(arguments.end(), overrides_.begin(), overrides_.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    Words all = {"OMP_NUM_THREADS=1"};
    all.insert(all.end(), environment.begin(), environment.end());
    return Program(arguments, path(), {.environment = all});
}

ProgramResult PromiseProject::run(const std::string& output, const Words& more, const Words& environment) const {
    return start(output, more, environment).wait();
}

RunResult PromiseProject::result(const std::string& output) const {
    const fs::path run = path() / output;
    RunResult result;
    for (const std::string& line : metrics_lines(run)) result["metrics"] += line + "\n";
    result["trainer_state"] = lasting_part(read_json(run / "trainer_state.json"));
    std::string weights = "model.safetensors";
    for (const char* adapter : {"adapter_model.safetensors", "tone/adapter_model.safetensors"})
        if (fs::exists(run / adapter)) weights = adapter;
    result["weights"] = get_text(run / weights);
    const auto checkpoints = list_checkpoints(run);
    if (checkpoints.empty()) return result;
    const std::string last = checkpoint_name(checkpoints.back());
    result["last checkpoint"] = last;
    result["checkpoint's weights"] = get_text(run / last / weights);
    result["checkpoint's trainer_state"] = lasting_part(read_json(run / last / "trainer_state.json"));
    for (const char* name : {"optimizer.safetensors", "training_state.json"})
        result[name] = get_text(run / last / name);
    return result;
}

RunResult PromiseProject::finish(const std::string& output, const Words& more, const Words& environment) const {
    const ProgramResult ended = run(output, more, environment);
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.code == 0 ? result(output) : RunResult{};
}

std::vector<pid_t> PromiseProject::processes() const {
    std::vector<pid_t> found;
    const fs::path here = fs::canonical(path());
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename().string();
        std::error_code error;
        if (name.find_first_not_of("0123456789") == name.npos && fs::read_symlink(entry.path() / "cwd", error) == here)
            found.push_back(std::atoi(name.c_str()));
    }
    return found;
}

pid_t PromiseProject::process_of_rank(int rank) const {
    const std::string wanted = std::string("\0RANK=", 6) + std::to_string(rank) + '\0';
    for (const pid_t process : processes())
        if (process_file(process, "environ").find(wanted) != std::string::npos) return process;
    return -1;
}

double PromiseProject::wait_until_deserted() const {
    const auto begin = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    while (!processes().empty()) {
        if (seconds() > 10) return -1;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return seconds();
}

Words signal_at(int step, int signal, int microseconds) {
    return {"LD_PRELOAD=" STEP_HOOK_LIBRARY, "STEP_HOOK_AT=" + std::to_string(step),
            "STEP_HOOK_SIGNAL=" + std::to_string(signal), "STEP_HOOK_DELAY=" + std::to_string(microseconds)};
}

Words file_at(int step, const fs::path& file) {
    return {"LD_PRELOAD=" STEP_HOOK_LIBRARY, "STEP_HOOK_AT=" + std::to_string(step), "STEP_HOOK_FILE=" + file.string()};
}

std::string last_error(const ProgramResult& result) {
    const std::size_t begin = result.err.rfind("error: ");
    if (begin == std::string::npos) return "";
    return result.err.substr(begin + 7, result.err.find_last_not_of('\n') + 1 - begin - 7);
}

std::vector<std::string> metrics_lines(const fs::path& run_folder) {
    std::vector<std::string> lines;
    for (const Node& line : json_lines(get_text(run_folder / "metrics.jsonl")))
        lines.push_back(without_time_and_place(line));
    return lines;
}

}   // namespace trainer::test
