#include "trainer/verify/child_run.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <sstream>
#include <thread>

#include "comm/process_words.h"
#include "configs/error.h"
#include "trainer/interrupt.h"
#include "trainer/verify/run_record.h"

namespace trainer {

namespace {

std::vector<std::string> words_of(const RunCommand& command) {
    std::vector<std::string> words = {"trainer", "run", command.recipe};
    words.insert(words.end(), command.overrides.begin(), command.overrides.end());
    if (command.processes) words.insert(words.end(), {"--nproc", std::to_string(*command.processes)});
    if (command.resume) words.emplace_back("--resume");
    return words;
}

std::vector<std::string> environment_of(const RunCommand& command) {
    std::vector<std::string> variables;
    if (command.threads) variables.push_back("OMP_NUM_THREADS=" + std::to_string(*command.threads));
    return environment_with(variables);
}

class Child {
public:
    Child(std::vector<std::string> words, std::vector<std::string> environment)
        : errors_(::memfd_create("errors", MFD_CLOEXEC)) {
        require(errors_ >= 0, Exit::system, "a run cannot be started: {}", std::strerror(errno));
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);   // the ranks of a launcher that was killed are waited for here
        const std::vector<char*> argv = pointers_to(words);
        const std::vector<char*> envp = pointers_to(environment);
        const pid_t parent = ::getpid();
        process_ = ::fork();
        require(process_ >= 0, Exit::system, "a run cannot be started: {}", std::strerror(errno));
        if (process_ == 0) start(argv, envp, parent);
    }
    ~Child() {
        kill(SIGKILL);
        collect(0);
        ::close(errors_);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void kill(int signal) const {
        if (running_) ::kill(process_, signal);
    }
    bool running() {
        collect(WNOHANG);
        return running_;
    }
    int status() const { return status_; }

    std::string errors() const {
        std::string text;
        std::array<char, 4096> buffer;
        ::lseek(errors_, 0, SEEK_SET);
        for (ssize_t count; (count = ::read(errors_, buffer.data(), buffer.size())) > 0;)
            text.append(buffer.data(), static_cast<std::size_t>(count));
        return text;
    }

private:
    [[noreturn]] void start(const std::vector<char*>& argv, const std::vector<char*>& envp, pid_t parent) const {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(static_cast<int>(Exit::system));
        const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
        ::dup2(nothing, STDIN_FILENO);
        ::dup2(nothing, STDOUT_FILENO);
        ::dup2(errors_, STDERR_FILENO);
        ::execve("/proc/self/exe", argv.data(), envp.data());
        ::_exit(static_cast<int>(Exit::system));
    }

    // Its end, and then that of the processes it left.
    void collect(int options) {
        if (!running_) return;
        int status = 0;
        pid_t ended = 0;
        do {
            ended = ::waitpid(process_, &status, options);
        } while (ended < 0 && errno == EINTR);
        if (ended != process_) return;
        running_ = false;
        status_ = status;
        while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
        }
    }

    int errors_;
    pid_t process_ = -1;
    int status_ = 0;
    bool running_ = true;
};

// `look` is called every `pause` until the child has ended.
template <typename Look>
void wait_for(Child& child, std::chrono::microseconds pause, Look&& look) {
    const InterruptGuard guard;
    while (child.running()) {
        require(!InterruptGuard::requested(), Exit::interrupted, "verify: interrupted");
        look();
        std::this_thread::sleep_for(pause);
    }
}

// The sentences of a run that failed, without their "error: ", and without warnings.
std::string sentences_of(const std::string& errors) {
    std::string text;
    std::istringstream lines(errors);
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("error: ")) text += line.substr(7) + "\n";
    return text;
}

std::string text_of(const RunCommand& command) {
    std::string text = command.threads ? format("OMP_NUM_THREADS={} ", *command.threads) : "";
    return text + join(words_of(command), " ");
}

[[noreturn]] void fail_killed(const std::string& command, int signal) {
    fail(Exit::system, "verify: {} was killed by signal {} ({})", command, signal, ::strsignal(signal));
}

[[noreturn]] void fail_ended(const Child& child, const std::string& command, int code) {
    fail(static_cast<Exit>(code), "{}verify: {} ended with exit code {}", sentences_of(child.errors()), command, code);
}

}   // namespace

RunEnd run_as_child(const RunCommand& command, const std::optional<StopAt>& stop) {
    using std::chrono::microseconds;
    Child child(words_of(command), environment_of(command));
    bool sent = !stop;
    wait_for(child, stop ? microseconds(500) : microseconds(5000), [&] {
        if (sent || steps_logged(command.output) < stop->step) return;
        child.kill(stop->signal);
        sent = true;
    });
    const int status = child.status();
    if (WIFSIGNALED(status)) {
        if (stop && WTERMSIG(status) == stop->signal) return RunEnd::killed;
        fail_killed(text_of(command), WTERMSIG(status));
    }
    const int code = WEXITSTATUS(status);
    if (code == 0) return RunEnd::finished;
    if (stop && code == static_cast<int>(Exit::preempted)) return RunEnd::preempted;
    fail_ended(child, text_of(command), code);
}

void run_as_child(std::vector<std::string> words) {
    words.insert(words.begin(), "trainer");
    Child child(words, environment_with({}));
    wait_for(child, std::chrono::microseconds(5000), [] {});
    if (WIFSIGNALED(child.status())) fail_killed(join(words, " "), WTERMSIG(child.status()));
    if (const int code = WEXITSTATUS(child.status()); code != 0) fail_ended(child, join(words, " "), code);
}

}   // namespace trainer
