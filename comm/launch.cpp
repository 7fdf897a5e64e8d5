#include "comm/launch.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>
#include <vector>

#include "comm/environment.h"
#include "comm/greeting.h"
#include "comm/process_words.h"
#include "comm/socket.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int most_processes = 1024;
constexpr milliseconds longest_lingering{2500};
constexpr int passed_on[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1};

struct Rank {
    pid_t process = -1;
    bool running = true;
    bool killed_by_us = false;
};

std::vector<std::string> own_arguments() {
    std::ifstream file("/proc/self/cmdline", std::ios::binary);
    std::vector<std::string> words;
    for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
    return words;
}

std::vector<std::string> without_nproc(std::vector<std::string> words) {
    const auto option = std::find_if(words.begin(), words.end(), [](const std::string& word) {
        return word == "--nproc" || word.starts_with("--nproc=");
    });
    check(option != words.end(), "the arguments hold no --nproc");
    words.erase(option, option + (*option == "--nproc" && option + 1 != words.end() ? 2 : 1));
    return words;
}

std::vector<std::string> environment_of(int rank, int count, const Socket& listener, const std::string& key) {
    std::vector<std::string> variables;
    const auto set = [&](const std::string& name, const auto& value) {
        variables.push_back(format("{}={}", name, value));
    };
    if (!std::getenv("OMP_NUM_THREADS"))
        set("OMP_NUM_THREADS", std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / count));
    set("RANK", rank);
    set("LOCAL_RANK", rank);
    set("WORLD_SIZE", count);
    set("MASTER_ADDR", "127.0.0.1");
    set("MASTER_PORT", port_of(listener));
    set("TRAINER_JOIN_KEY", key);
    if (rank == 0) set("TRAINER_LISTEN_FD", listener.descriptor());
    return environment_with(variables);
}

std::string random_key() {
    std::string text;
    for (const std::byte value : random_token()) {
        text += static_cast<char>('a' + (std::to_integer<int>(value) & 15));
        text += static_cast<char>('a' + (std::to_integer<int>(value) >> 4));
    }
    return text;
}

class Launcher {
public:
    explicit Launcher(int count) : arguments_(without_nproc(own_arguments())), ranks_(static_cast<std::size_t>(count)) {
        sigemptyset(&signals_);
        sigaddset(&signals_, SIGCHLD);
        sigaddset(&signals_, SIGUSR2);   // would end the ranks, which have no answer to it: it is taken and dropped
        for (const int signal : passed_on) sigaddset(&signals_, signal);
        sigprocmask(SIG_BLOCK, &signals_, &before_);
    }
    ~Launcher() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
    Launcher(const Launcher&) = delete;
    Launcher& operator=(const Launcher&) = delete;

    LaunchOutcome run() {
        start();
        while (std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.running; })) {
            if (deadline_ && steady_clock::now() >= *deadline_) kill_the_rest();
            pass_on_a_signal();
            collect();
        }
        return outcome();
    }

private:
    void start() {
        const Socket listener = listen_at(true, 0);
        const std::string key = random_key();
        for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
            std::vector<std::string> environment =
                environment_of(static_cast<int>(rank), static_cast<int>(ranks_.size()), listener, key);
            ranks_[rank].process = start_one(rank == 0 ? listener.descriptor() : -1, environment);
            if (ranks_[rank].process < 0) {
                const std::string reason = std::strerror(errno);
                ranks_.resize(rank);
                kill_the_rest();
                fail(Exit::system, "rank {} cannot be started: {}", rank, reason);
            }
        }
    }

    pid_t start_one(int inherited, std::vector<std::string>& environment) {
        const std::vector<char*> argv = pointers_to(arguments_);
        const std::vector<char*> envp = pointers_to(environment);
        const pid_t launcher = ::getpid();
        const pid_t process = ::fork();
        if (process != 0) return process;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != launcher) ::_exit(static_cast<int>(Exit::peer_lost));
        ::setpgid(0, 0);   // what the terminal sends comes through the launcher, once
        if (inherited >= 0) ::fcntl(inherited, F_SETFD, 0);
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
        ::execve("/proc/self/exe", argv.data(), envp.data());
        ::_exit(static_cast<int>(Exit::system));
    }

    void pass_on_a_signal() {
        const timespec wait{deadline_ ? 0 : 1, deadline_ ? 50'000'000 : 0};
        const int signal = ::sigtimedwait(&signals_, nullptr, &wait);
        if (std::find(std::begin(passed_on), std::end(passed_on), signal) == std::end(passed_on)) return;
        for (const Rank& rank : ranks_)
            if (rank.running) ::kill(rank.process, signal);
    }

    void collect() {
        for (std::size_t index = 0; index < ranks_.size(); ++index) {
            Rank& rank = ranks_[index];
            int status = 0;
            if (!rank.running || ::waitpid(rank.process, &status, WNOHANG) != rank.process) continue;
            rank.running = false;
            if (rank.killed_by_us) continue;
            if (WIFSIGNALED(status))
                note_signal(index, WTERMSIG(status));
            else
                note_exit(WEXITSTATUS(status));
        }
    }

    void note_signal(std::size_t index, int signal) {
        if (killed_.empty())
            killed_ = format("rank {} (process {}) was killed by signal {} ({})", index, ranks_[index].process, signal,
                             ::strsignal(signal));
        start_deadline();
    }

    void note_exit(int code) {
        if (code == 0) return;
        if (code == static_cast<int>(Exit::peer_lost))
            lost_ = true;
        else if (own_failure_ == 0)
            own_failure_ = code;
        // After an interruption the others may still be writing their checkpoint.
        if (code != static_cast<int>(Exit::preempted) && code != static_cast<int>(Exit::interrupted)) start_deadline();
    }

    void start_deadline() {
        if (!deadline_) deadline_ = steady_clock::now() + longest_lingering;
    }

    void kill_the_rest() {
        for (Rank& rank : ranks_) {
            if (!rank.running) continue;
            rank.killed_by_us = true;
            ::kill(-rank.process, SIGKILL);
            ::kill(rank.process, SIGKILL);   // one that has no group of its own yet
        }
    }

    LaunchOutcome outcome() const {
        if (own_failure_ != 0) return {own_failure_, ""};
        const bool killed = !killed_.empty();
        return {killed || lost_ ? static_cast<int>(Exit::peer_lost) : 0, killed_};
    }

    std::vector<std::string> arguments_;
    std::vector<Rank> ranks_;
    sigset_t signals_{};
    sigset_t before_{};
    std::optional<steady_clock::time_point> deadline_;
    std::string killed_;
    int own_failure_ = 0;
    bool lost_ = false;
};

}   // namespace

LaunchOutcome launch_ranks(int count) {
    require(count >= 1 && count <= most_processes, Exit::usage,
            "--nproc is {}; expected a number of processes from 1 to {}", count, most_processes);
    const auto launched = launched_from_environment();
    require(
        !launched, Exit::usage,
        "--nproc {} starts ranks itself, but another launcher has started this process as rank {} of {}; use one of "
        "the two",
        count, launched ? launched->rank : 0, launched ? launched->size : 0);
    return Launcher(count).run();
}

}   // namespace trainer
