#include "tests/comm/ranks.h"

#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "comm/process_words.h"
#include "configs/error.h"

namespace trainer::test {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

RankResult read_result(const fs::path& path) {
    RankResult result;
    std::ifstream file(path);
    if (file >> result.code >> result.time) {
        file.get();
        result.message = {std::istreambuf_iterator<char>(file), {}};
    }
    return result;
}

fs::path make_folder() {
    std::string pattern = fs::temp_directory_path() / "ranks-XXXXXX";
    if (!::mkdtemp(pattern.data())) fail(Exit::cannot_create, "{}", pattern);
    return pattern;
}

bool waits_for_its_parent(const fs::path& process) {   // a zombie holds nothing
    std::ifstream file(process / "stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::size_t end = text.rfind(')');
    return end == std::string::npos || text.substr(end + 2, 1) == "Z";
}

std::vector<std::string> with_results(std::vector<std::string> variables, const fs::path& folder) {
    variables.push_back("RANK_RESULTS=" + folder.string());
    return environment_with(variables);
}

}   // namespace

StartedRanks::StartedRanks(std::vector<std::string> command, std::vector<std::string> variables)
    : folder_(make_folder()),
      begin_(steady_clock::now()),
      launcher_({std::move(command), with_results(std::move(variables), folder_)}) {}

StartedRanks::~StartedRanks() {
    launcher_.signal(SIGKILL);
    launcher_.wait();
    for (const pid_t process : processes()) ::kill(process, SIGKILL);
    fs::remove_all(folder_);
}

void StartedRanks::signal(int number) const { launcher_.signal(number); }

RankResult StartedRanks::result(int rank) const { return read_result(folder_ / ("rank-" + std::to_string(rank))); }

bool StartedRanks::await_result(int rank, double seconds) const {
    const auto deadline = steady_clock::now() + std::chrono::duration<double>(seconds);
    while (result(rank).code < 0 && steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(10));
    return result(rank).code >= 0;
}

std::vector<pid_t> StartedRanks::processes() const {
    std::vector<pid_t> found;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator("/proc", error)) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file(entry.path() / "environ", std::ios::binary);
        const std::string environment{std::istreambuf_iterator<char>(file), {}};
        if (environment.find("RANK_RESULTS=" + folder_.string()) == std::string::npos) continue;
        if (!waits_for_its_parent(entry.path())) found.push_back(std::stoi(name));
    }
    return found;
}

bool StartedRanks::all_ended_within(double seconds) const {
    const auto deadline = steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!processes().empty() && steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(20));
    return processes().empty();
}

RanksOutcome StartedRanks::wait(int count, double limit) {
    RanksOutcome outcome;
    const auto deadline = begin_ + std::chrono::duration<double>(limit);
    while (launcher_.running() && steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(5));
    outcome.seconds = std::chrono::duration<double>(steady_clock::now() - begin_).count();
    const bool ended = !launcher_.running();
    if (ended && !all_ended_within(2)) outcome.left_behind = static_cast<int>(processes().size());
    const ProgramResult result_of_launcher = launcher_.so_far();
    outcome.exit_code = result_of_launcher.code;
    outcome.errors = result_of_launcher.err;
    for (int rank = 0; rank < count; ++rank) outcome.ranks.push_back(result(rank));
    return outcome;
}

std::string mpirun_missing() {
    static const std::string reason = [] {
        if (!fs::exists(fs::path(RANK_PROGRAM).parent_path() / "trainer_mpi.so"))
            return "the program was built without MPI";
        return std::system("mpirun --version > /dev/null 2>&1") == 0 ? "" : "there is no mpirun";
    }();
    return reason;
}

StartedRanks start_ranks(Launcher launcher, int count, const std::vector<std::string>& scenario) {
    std::vector<std::string> command;
    if (launcher == Launcher::sockets)
        command = {RANK_PROGRAM, "--nproc", std::to_string(count)};
    else
        command = {"mpirun", "--oversubscribe", "--bind-to", "none", "-np", std::to_string(count), RANK_PROGRAM};
    command.insert(command.end(), scenario.begin(), scenario.end());
    return StartedRanks(command, {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1", "OMP_NUM_THREADS=1",
                                  "OMPI_MCA_mpi_yield_when_idle=1", "OMPI_MCA_btl_base_warn_component_unused=0",
                                  "ASAN_OPTIONS=detect_leaks=0"});   // Open MPI leaves memory behind
}

RanksOutcome run_ranks(Launcher launcher, int count, const std::vector<std::string>& scenario, double limit) {
    return start_ranks(launcher, count, scenario).wait(count, limit);
}

std::string complaint_about_loss(const RanksOutcome& outcome, int lost) {
    const RankResult& cause = outcome.ranks[static_cast<std::size_t>(lost)];
    if (outcome.exit_code < 0) return "the ranks did not end";
    if (outcome.left_behind > 0) return format("{} processes were left behind", outcome.left_behind);
    if (cause.code < 0) return format("rank {} did not die: {}", lost, outcome.errors);
    for (std::size_t rank = 0; rank < outcome.ranks.size(); ++rank) {
        const RankResult& result = outcome.ranks[rank];
        if (static_cast<int>(rank) == lost) continue;
        if (result.code != static_cast<int>(Exit::peer_lost))
            return format("rank {} ended with {}: {}\n{}", rank, result.code, result.message, outcome.errors);
        if (!result.message.starts_with(format("rank {} (", lost)) ||
            result.message.find(" was lost") == std::string::npos)
            return format("rank {} names another: {}", rank, result.message);
        if (result.time - cause.time > 3) return format("rank {} took {} s", rank, result.time - cause.time);
    }
    return "";
}

}   // namespace trainer::test
