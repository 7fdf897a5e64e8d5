#include "trainer/commands/verify.h"

#include <CLI/CLI.hpp>

#include "configs/error.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"

namespace trainer {

namespace {

constexpr Command verifications[] = {
    {"resume", "that a run which is killed and resumed ends in the same bits", define_verify_resume},
    {"ranks", "that the number of ranks and how they share the work change no bit", define_verify_ranks},
    {"invariance", "that threads and recomputation change no bit, leaves and packing nothing beyond rounding",
     define_verify_invariance},
    {"adapter", "that a saved adapter fits its base, changes it, and is read the same by a fresh process",
     define_verify_adapter},
    {"receipt", "that a finished run's files are those it wrote, and whether this machine would write them again",
     define_verify_receipt},
};

}   // namespace

void VerifyArguments::declare(CLI::App& app, std::int64_t fewest_steps) {
    RecipeArguments::declare(app);
    app.add_option("--steps", steps, "steps of every run")->check(count_from(fewest_steps))->capture_default_str();
    app.add_flag("--json", json, "one JSON object");
}

std::function<int()> define_verify(CLI::App& app) { return define_subcommands(app, verifications); }

}   // namespace trainer
