#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>

#include "comm/launch.h"
#include "comm/solo.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/recipe_arguments.h"
#include "trainer/log.h"
#include "trainer/run_options.h"
#include "trainer/trainer.h"

namespace trainer {

namespace {

std::size_t peak_resident_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

void print_start(const Inputs& inputs, const MemoryPlan& plan) {
    const Recipe& recipe = inputs.recipe;
    const AuditReport& data = inputs.train.report;
    std::printf("model %s: %lld parameters, %lld trained%s\n", recipe.model.base.c_str(),
                static_cast<long long>(plan.parameters), static_cast<long long>(plan.trainable),
                recipe.peft ? (" (" + recipe.peft->method + ")").c_str() : "");
    std::printf("data: %lld rows kept of %lld (%lld cut), %lld tokens, %lld trained, %s an epoch\n",
                static_cast<long long>(data.kept), static_cast<long long>(data.rows), static_cast<long long>(data.cut),
                static_cast<long long>(data.tokens), static_cast<long long>(data.targets), rows_text(inputs).c_str());
    std::printf("steps: %lld, %lld an epoch; sums are %s\n", static_cast<long long>(inputs.total_steps),
                static_cast<long long>(inputs.plan->steps_per_epoch()),
                determinism(recipe) == Determinism::strict
                    ? "strict: the same bits whatever the number of ranks and threads"
                    : "repeatable: the same bits for one number of ranks");
    std::printf("%s\n", plan.table().c_str());
    std::fflush(stdout);
}

void print_end(const MemoryPlan& plan, const Trainer::Outcome& outcome) {
    std::printf("memory: planned %s, tensors at their peak %s, whole process %s\n", bytes_text(plan.total()).c_str(),
                bytes_text(outcome.memory.peak_total()).c_str(), bytes_text(peak_resident_bytes()).c_str());
    if (outcome.first_validation_loss && outcome.last_validation_loss)
        std::printf("validation loss: %.4f before, %.4f after (%+.1f %%)\n", *outcome.first_validation_loss,
                    *outcome.last_validation_loss,
                    100 * (*outcome.last_validation_loss / *outcome.first_validation_loss - 1));
    std::printf(
        "training took %s, evaluation %s: %.0f tokens/s\n", duration_text(outcome.training_seconds).c_str(),
        duration_text(outcome.evaluation_seconds).c_str(),
        outcome.training_seconds > 0 ? static_cast<double>(outcome.input_tokens) / outcome.training_seconds : 0);
}

int run(const RecipeArguments& arguments) {
    std::unique_ptr<OutputFolder> output;
    const Inputs inputs = check_inputs(load_recipe(arguments.path, arguments.overrides), output);
    for (const std::string& warning : warnings_of(inputs)) log_warning(warning);
    const auto ranks = make_solo();
    const MemoryPlan plan = plan_memory(inputs, *ranks);
    print_start(inputs, plan);

    Trainer trainer(inputs, *output, *ranks);
    const Trainer::Outcome outcome = trainer.run();
    print_end(plan, outcome);
    if (outcome.interrupted) {
        if (outcome.steps > 0)
            log_error(format("interrupted after step {} of {}; what was learned lies in {}/checkpoint-{}",
                             outcome.steps, inputs.total_steps, inputs.recipe.output, outcome.steps));
        else
            log_error("interrupted before the first step; nothing was learned");
        return static_cast<int>(Exit::interrupted);
    }
    if (!inputs.valid.empty() && !outcome.last_validation_loss)
        log_warning("the last evaluation was interrupted; everything else is complete");
    std::printf("%s: %s\n", inputs.recipe.peft ? "adapter" : "model", inputs.recipe.output.c_str());
    return 0;
}

int launch(int processes) {
    const LaunchOutcome outcome = launch_ranks(processes);
    if (!outcome.killed.empty()) log_error(outcome.killed);
    return outcome.exit_code;
}

}   // namespace

std::function<int()> define_run(CLI::App& app) {
    const auto arguments = std::make_shared<RecipeArguments>();
    arguments->declare(app);
    const auto processes = std::make_shared<std::optional<int>>();
    app.add_option("--nproc", *processes, "start so many processes on this machine, which share the work")
        ->check(count_from(1, std::numeric_limits<int>::max()));
    return [arguments, processes] { return *processes ? launch(**processes) : run(*arguments); };
}

}   // namespace trainer
