#include <CLI/CLI.hpp>
#include <cstdio>

#include "configs/json.h"
#include "trainer/commands/command.h"
#include "trainer/recipe.h"

namespace trainer {

std::function<int()> define_schema(CLI::App&) {
    return [] {
        JsonStyle style;
        style.indent = 2;
        std::printf("%s\n", to_json(recipe_schema(), style).c_str());
        return 0;
    };
}

}   // namespace trainer
