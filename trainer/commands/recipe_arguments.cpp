#include "trainer/commands/recipe_arguments.h"

#include <CLI/CLI.hpp>

#include "trainer/commands/ranges.h"

namespace trainer {

void RecipeArguments::declare(CLI::App& app) {
    app.add_option("RECIPE", path, "the recipe, a YAML file")->required()->check(not_blank("a recipe, a YAML file"));
    app.add_option("key=value", overrides, "keys that replace the recipe's, such as optimizer.lr=1e-4");
}

}   // namespace trainer
