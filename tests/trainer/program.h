#pragma once

// Runs the real program as a user would.

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/child.h"

namespace trainer::test {

struct ProgramOptions {
    std::string input = {};                      // standard input
    std::vector<std::string> environment = {};   // "NAME=value" that join or replace what it sees
    bool as_nobody = false;
    std::size_t address_space = 0;
    std::size_t data = 0;
    std::size_t file_size = 0;
};

// The started program. It sees no hub cache and two threads.
class Program : public Child {
public:
    // `folder`: working directory.
    Program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
            const ProgramOptions& options = {});
};

ProgramResult run_program(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                          const ProgramOptions& options = {});

}   // namespace trainer::test
