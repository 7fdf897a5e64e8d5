#pragma once

#include <cstdint>
#include <functional>

#include "trainer/commands/recipe_arguments.h"

namespace CLI {
class App;
}

namespace trainer {

// What the verifications of a recipe share: RECIPE [key=value …] --steps N --json.
struct VerifyArguments : RecipeArguments {
    std::int64_t steps = 6;
    bool json = false;

    void declare(CLI::App& app, std::int64_t fewest_steps);
};

// The commands below `trainer verify`.
std::function<int()> define_verify_resume(CLI::App& app);
std::function<int()> define_verify_ranks(CLI::App& app);
std::function<int()> define_verify_invariance(CLI::App& app);
std::function<int()> define_verify_adapter(CLI::App& app);
std::function<int()> define_verify_receipt(CLI::App& app);

}   // namespace trainer
