#pragma once

// Starts rank_program (tests/support/ranks/rank_program.cpp) as several ranks and gathers how each ended.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/child.h"

namespace trainer::test {

struct RankResult {
    int code = -1;     // -1: the rank did not report
    double time = 0;   // seconds of the monotonic clock
    std::string message;
};

struct RanksOutcome {
    int exit_code = -1;   // of the launcher, 128 + signal when it was killed; -1: it did not end in time
    std::string errors;   // what went to standard error
    std::vector<RankResult> ranks;
    double seconds = 0;
    int left_behind = 0;   // processes of this test that still live two seconds later
};

// A started command and all that it started itself. Whatever still lives is killed with this object.
class StartedRanks {
public:
    StartedRanks(std::vector<std::string> command, std::vector<std::string> variables);
    ~StartedRanks();
    StartedRanks(const StartedRanks&) = delete;
    StartedRanks& operator=(const StartedRanks&) = delete;

    void signal(int number) const;   // to the command
    RankResult result(int rank) const;
    bool await_result(int rank, double seconds = 20) const;
    std::vector<pid_t> processes() const;   // that live
    bool all_ended_within(double seconds) const;
    RanksOutcome wait(int count, double limit = 30);

private:
    std::filesystem::path folder_;
    std::chrono::steady_clock::time_point begin_;
    Child launcher_;
};

enum class Launcher { sockets, mpirun };

// Why mpirun cannot be used here; empty when it can.
std::string mpirun_missing();

StartedRanks start_ranks(Launcher launcher, int count, const std::vector<std::string>& scenario);
RanksOutcome run_ranks(Launcher launcher, int count, const std::vector<std::string>& scenario, double limit = 30);

// Every rank but `lost` ended with 82, named `lost`, and did so within 3 s of its end. Empty: so it is.
std::string complaint_about_loss(const RanksOutcome& outcome, int lost);

}   // namespace trainer::test
