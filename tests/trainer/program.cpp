#include "tests/trainer/program.h"

namespace trainer::test {

namespace {

// No hub cache but an empty one, no colours.
std::vector<std::string> environment_with_only(const std::vector<std::string>& more) {
    std::vector<std::string> environment = {"PATH=/usr/bin:/bin", "HOME=/nowhere",           "HF_HOME=hub",
                                            "OMP_NUM_THREADS=2",  "OMP_WAIT_POLICY=passive", "LC_ALL=C.UTF-8"};
    for (const std::string& entry : more) {
        const std::string name = entry.substr(0, entry.find('=') + 1);
        std::erase_if(environment, [&](const std::string& other) { return other.starts_with(name); });
        environment.push_back(entry);
    }
    return environment;
}

std::vector<std::string> words_of(const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {TRAINER_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
}

}   // namespace

Program::Program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                 const ProgramOptions& options)
    : Child({words_of(arguments), environment_with_only(options.environment), folder, options.input, options.as_nobody,
             options.address_space, options.data, options.file_size}) {}

ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                          const ProgramOptions& options) {
    return Program(arguments, folder, options).wait();
}

}   // namespace trainer::test
