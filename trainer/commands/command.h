#pragma once

#include <functional>
#include <span>
#include <vector>

namespace CLI {
class App;
}

namespace trainer {

// One command of the program: `define` declares its options on the given sub-command; the function it returns does the
// work after parsing and gives the exit code. It may throw Error.
struct Command {
    const char* name;
    const char* help;
    std::function<int()> (*define)(CLI::App& app);
};

// The table in main.cpp.
const std::vector<Command>& commands();

// A command that is one of several. `table` is static.
std::function<int()> define_subcommands(CLI::App& app, std::span<const Command> table);

std::function<int()> define_run(CLI::App& app);
std::function<int()> define_check(CLI::App& app);
std::function<int()> define_preview(CLI::App& app);
std::function<int()> define_verify(CLI::App& app);
std::function<int()> define_combine(CLI::App& app);
std::function<int()> define_merge(CLI::App& app);
std::function<int()> define_export(CLI::App& app);
std::function<int()> define_generate(CLI::App& app);
std::function<int()> define_list(CLI::App& app);
std::function<int()> define_schema(CLI::App& app);
std::function<int()> define_info(CLI::App& app);

}   // namespace trainer
