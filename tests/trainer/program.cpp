#include "tests/trainer/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>

#include "comm/process_words.h"

namespace trainer::test {

namespace {

std::string content_of(int descriptor) {
    std::string text;
    std::array<char, 65536> buffer;
    ::lseek(descriptor, 0, SEEK_SET);
    for (ssize_t count; (count = ::read(descriptor, buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(count));
    return text;
}

}   // namespace

Program::Program(const std::vector<std::string>& arguments, const std::filesystem::path& folder, bool as_nobody,
                 const std::string& input, const std::vector<std::string>& more_environment) {
    const int program = ::open(TRAINER_PROGRAM, O_RDONLY | O_CLOEXEC);
    if (program < 0) throw std::runtime_error("cannot open " TRAINER_PROGRAM);
    out_ = ::memfd_create("out", MFD_CLOEXEC);
    err_ = ::memfd_create("err", MFD_CLOEXEC);
    const int in = ::memfd_create("in", MFD_CLOEXEC);
    if (::write(in, input.data(), input.size()) != static_cast<ssize_t>(input.size()))
        throw std::runtime_error("cannot write the input");
    ::lseek(in, 0, SEEK_SET);
    std::vector<std::string> words = {"trainer"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    // no hub cache but an empty one, no colours
    std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "HOME=/nowhere",           "HF_HOME=hub",
                                            "OMP_NUM_THREADS=2",  "OMP_WAIT_POLICY=passive", "LC_ALL=C.UTF-8"};
    for (const std::string& entry : more_environment) {
        const std::string name = entry.substr(0, entry.find('=') + 1);
        std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name); });
        environment.push_back(entry);
    }
    const std::vector<char*> argv = pointers_to(words);
    const std::vector<char*> envp = pointers_to(environment);

    process_ = ::fork();
    if (process_ == 0) {
        ::dup2(in, STDIN_FILENO);
        ::dup2(out_, STDOUT_FILENO);
        ::dup2(err_, STDERR_FILENO);
        if (::chdir(folder.c_str()) != 0) ::_exit(126);
        if (as_nobody && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(126);
        ::fexecve(program, argv.data(), envp.data());
        ::_exit(127);
    }
    ::close(program);
    ::close(in);
    if (process_ < 0) throw std::runtime_error("cannot start the program");
}

Program::~Program() {
    if (process_ > 0) {
        ::kill(process_, SIGKILL);
        ::waitpid(process_, &status_, 0);
    }
    ::close(out_);
    ::close(err_);
}

void Program::signal(int number) const {
    if (process_ > 0) ::kill(process_, number);
}

bool Program::running() {
    if (process_ > 0 && ::waitpid(process_, &status_, WNOHANG) == process_) process_ = -1;
    return process_ > 0;
}

ProgramResult Program::wait() {
    if (process_ > 0) ::waitpid(process_, &status_, 0);
    process_ = -1;
    const int code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
    return {code, content_of(out_), content_of(err_)};
}

ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                          bool as_nobody, const std::string& input, const std::vector<std::string>& more_environment) {
    return Program(arguments, folder, as_nobody, input, more_environment).wait();
}

}   // namespace trainer::test
