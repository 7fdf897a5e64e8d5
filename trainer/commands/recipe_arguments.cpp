#include "trainer/commands/recipe_arguments.h"

#include <CLI/CLI.hpp>

namespace trainer {

void RecipeArguments::declare(CLI::App& app) {
    app.add_option("RECIPE", path, "the recipe, a YAML file")->required();
    app.add_option("key=value", overrides, "keys that replace the recipe's, such as optimizer.lr=1e-4");
}

}   // namespace trainer
