#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace trainer {

// RECIPE [key=value …]
struct RecipeArguments {
    std::string path;
    std::vector<std::string> overrides;

    void declare(CLI::App& app);
};

}   // namespace trainer
