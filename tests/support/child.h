#pragma once

// Starts programs and catches what they write.

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace trainer::test {

struct Command {
    std::vector<std::string> words;         // the first is a path, or a name to be looked for in PATH
    std::vector<std::string> environment;   // all that the program sees
    std::filesystem::path folder = ".";     // working directory
    std::string input = {};                 // standard input
    bool as_nobody = false;                 // as the user nobody (only when we are root)
    std::size_t address_space = 0;          // bytes it may use; 0: no limit
    std::size_t data = 0;                   // the same of what it may write to
    std::size_t file_size = 0;              // the same of each file that it writes
};

struct ProgramResult {
    int code = -1;   // 128 + signal when it was killed; -1: it has not ended
    std::string out;
    std::string err;
};

// A started program. It is killed with this object when it still runs.
class Child {
public:
    explicit Child(Command command);
    ~Child();
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    void signal(int number) const;   // nothing when it has ended
    bool running();
    pid_t process() const { return process_; }   // -1 when it has ended
    ProgramResult so_far() const;
    ProgramResult wait();

private:
    pid_t process_ = -1;
    int status_ = 0;
    int out_ = -1;
    int err_ = -1;
};

}   // namespace trainer::test
