#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace trainer {

// What a process of `trainer run` is started with.
struct RunCommand {
    std::string recipe;
    std::vector<std::string> overrides;   // "a.b=value", the output folder among them
    std::filesystem::path output;
    bool resume = false;
    std::optional<int> processes;   // --nproc
    std::optional<int> threads;     // OMP_NUM_THREADS; nothing: as this process has it
};

// A signal that is sent once metrics.jsonl holds the line of a step.
struct StopAt {
    std::int64_t step = 0;
    int signal = 0;
};

enum class RunEnd { finished, killed, preempted };

// Runs this program as a process of its own and waits for its end, and for that of all processes it started. Its
// standard output is dropped.
// Errors: the run's own exit code with what it printed, when it fails; interrupted when this process is asked to stop
// (trainer/interrupt.h), after the run was killed; system when it cannot be started, or was killed by another signal.
RunEnd run_as_child(const RunCommand& command, const std::optional<StopAt>& stop = std::nullopt);

// The same for another command of this program, "generate" and so on, which must end with 0.
void run_as_child(std::vector<std::string> words);

}   // namespace trainer
