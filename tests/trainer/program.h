#pragma once

// Runs the real program as a user would.

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace trainer::test {

struct ProgramResult {
    int code = 0;   // 128 + signal when it was killed
    std::string out;
    std::string err;
};

// A started program. It sees no hub cache, two threads and `input` as its standard input.
class Program {
public:
    // `folder`: working directory. `as_nobody`: as the user nobody (only when we are root). `more_environment`:
    // "NAME=value" that join or replace what it sees.
    Program(const std::vector<std::string>& arguments, const std::filesystem::path& folder, bool as_nobody = false,
            const std::string& input = "", const std::vector<std::string>& more_environment = {});
    ~Program();   // kills it when it still runs
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    void signal(int number) const;
    bool running();
    pid_t process() const { return process_; }   // -1 when it has ended
    ProgramResult wait();

private:
    pid_t process_ = -1;
    int status_ = 0;
    int out_ = -1;
    int err_ = -1;
};

ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                          bool as_nobody = false, const std::string& input = "",
                          const std::vector<std::string>& more_environment = {});

}   // namespace trainer::test
