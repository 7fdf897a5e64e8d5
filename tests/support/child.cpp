#include "tests/support/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
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
    off_t at = 0;   // the program writes on where the descriptor stands
    for (ssize_t count; (count = ::pread(descriptor, buffer.data(), buffer.size(), at)) > 0; at += count)
        text.append(buffer.data(), static_cast<std::size_t>(count));
    return text;
}

int file_of(const std::string& text) {
    const int file = ::memfd_create("input", MFD_CLOEXEC);
    if (::write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        throw std::runtime_error("cannot write the input");
    ::lseek(file, 0, SEEK_SET);
    return file;
}

// What the new process still has to do before it becomes the program.
bool enter(const Command& command) {
    if (::chdir(command.folder.c_str()) != 0) return false;
    if (command.as_nobody && (::setgid(65534) != 0 || ::setuid(65534) != 0)) return false;
    const auto limit = [](auto resource, std::size_t bytes) {
        const rlimit both{bytes, bytes};
        return bytes == 0 || ::setrlimit(resource, &both) == 0;
    };
    return limit(RLIMIT_AS, command.address_space) && limit(RLIMIT_DATA, command.data) &&
           limit(RLIMIT_FSIZE, command.file_size);
}

}   // namespace

Child::Child(Command command) {
    const bool is_path = command.words[0].find('/') != std::string::npos;
    const int program = is_path ? ::open(command.words[0].c_str(), O_RDONLY | O_CLOEXEC) : -1;   // nobody may not
    if (is_path && program < 0) throw std::runtime_error("cannot open " + command.words[0]);
    const int in = file_of(command.input);
    out_ = ::memfd_create("out", MFD_CLOEXEC);
    err_ = ::memfd_create("err", MFD_CLOEXEC);
    const std::vector<char*> argv = pointers_to(command.words);
    const std::vector<char*> envp = pointers_to(command.environment);
    process_ = ::fork();
    if (process_ == 0) {
        ::dup2(in, STDIN_FILENO);
        ::dup2(out_, STDOUT_FILENO);
        ::dup2(err_, STDERR_FILENO);
        if (!enter(command)) ::_exit(126);
        if (is_path)
            ::fexecve(program, argv.data(), envp.data());
        else
            ::execvpe(argv[0], argv.data(), envp.data());
        ::_exit(127);
    }
    if (is_path) ::close(program);
    ::close(in);
    if (process_ < 0) throw std::runtime_error("cannot start " + command.words[0]);
}

Child::~Child() {
    signal(SIGKILL);
    wait();
    ::close(out_);
    ::close(err_);
}

void Child::signal(int number) const {
    if (process_ > 0) ::kill(process_, number);
}

bool Child::running() {
    if (process_ > 0 && ::waitpid(process_, &status_, WNOHANG) == process_) process_ = -1;
    return process_ > 0;
}

ProgramResult Child::so_far() const {
    const int code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
    return {process_ > 0 ? -1 : code, content_of(out_), content_of(err_)};
}

ProgramResult Child::wait() {
    if (process_ > 0) ::waitpid(process_, &status_, 0);
    process_ = -1;
    return so_far();
}

}   // namespace trainer::test
