#include "trainer/commands/command.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "configs/error.h"

namespace trainer {

std::function<int()> define_subcommands(CLI::App& app, std::span<const Command> table) {
    app.require_subcommand(1);
    std::vector<std::pair<CLI::App*, std::function<int()>>> actions;
    for (const Command& one : table) {
        CLI::App* sub = app.add_subcommand(one.name, one.help);
        actions.emplace_back(sub, one.define(*sub));
    }
    return [actions] {
        for (const auto& [sub, action] : actions)
            if (sub->parsed()) return action();
        return static_cast<int>(Exit::internal);
    };
}

}   // namespace trainer
