#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>

#include "autograd/cpu/isa.h"
#include "comm/collective.h"
#include "comm/data_path.h"
#include "comm/launch.h"
#include "comm/open.h"
#include "comm/together.h"
#include "trainer/commands/command.h"
#include "trainer/commands/ranges.h"
#include "trainer/commands/recipe_arguments.h"
#include "trainer/device.h"
#include "trainer/identity.h"
#include "trainer/interrupt.h"
#include "trainer/log.h"
#include "trainer/memory_choice.h"
#include "trainer/receipt.h"
#include "trainer/run_options.h"
#include "trainer/trainer.h"

namespace trainer {

namespace {

struct RunArguments : RecipeArguments {
    std::optional<int> processes;
    bool resume = false;
    std::string resume_word;   // as CLI11 reads it: "true" for `--resume` alone, else what stands behind its =
    std::string resume_from;   // "": the newest of the recipe's output
    bool numerics_may_change = false;
};

std::size_t peak_resident_bytes() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

const char* promise_of(Determinism sums) {
    switch (sums) {
        case Determinism::strict:
            return "strict: the same bits whatever the number of ranks and threads";
        case Determinism::fast:
            return "fast: whatever bits the libraries give";
        default:
            return "repeatable: the same bits for one number of ranks";
    }
}

void print_start(const Inputs& inputs, const DataPath& path, const MemoryPlan& plan) {
    const Recipe& recipe = inputs.recipe;
    const AuditReport& data = inputs.train.report;
    std::printf("model %s: %lld parameters, %lld trained%s\n", recipe.model.base.c_str(),
                static_cast<long long>(plan.parameters), static_cast<long long>(plan.trainable),
                recipe.peft ? (" (" + recipe.peft->method + ")").c_str() : "");
    std::printf("data: %lld rows kept of %lld (%lld cut), %lld tokens, %lld trained, %s an epoch\n",
                static_cast<long long>(data.kept), static_cast<long long>(data.rows), static_cast<long long>(data.cut),
                static_cast<long long>(data.tokens), static_cast<long long>(data.targets), rows_text(inputs).c_str());
    std::printf("steps: %lld, %lld an epoch; sums are %s\n", static_cast<long long>(inputs.total_steps),
                static_cast<long long>(inputs.plan->steps_per_epoch()), promise_of(determinism(recipe)));
    if (const std::string device = device_text(recipe, inputs.place); !device.empty())
        std::printf("computed on %s\n", device.c_str());
    if (const std::string way = path.text(); !way.empty()) std::printf("exchanged through %s\n", way.c_str());
    std::printf("%s\n", plan.table().c_str());
    std::fflush(stdout);
}

void print_end(const Inputs& inputs, const MemoryPlan& plan, const Trainer::Outcome& outcome) {
    std::printf("memory: planned %s, tensors at their peak %s, %swhole process %s\n", bytes_text(plan.total()).c_str(),
                bytes_text(outcome.memory.peak_total()).c_str(), held_on_device_text(inputs.place).c_str(),
                bytes_text(peak_resident_bytes()).c_str());
    if (outcome.memory.peak_total() > plan.total() && inputs.place.is_cuda())
        log_warning("the tensors took more of the GPU's memory than was planned; please report this with the recipe");
    const TrainingState& state = outcome.state;
    if (state.first_validation_loss && state.last_validation_loss && state.evaluated_step > 0)
        std::printf("validation loss: %.4f before, %.4f after (%+.1f %%)\n", *state.first_validation_loss,
                    *state.last_validation_loss,
                    100 * (*state.last_validation_loss / *state.first_validation_loss - 1));
    std::printf(
        "training took %s, evaluation %s: %.0f tokens/s\n", duration_text(outcome.training_seconds).c_str(),
        duration_text(outcome.evaluation_seconds).c_str(),
        outcome.training_seconds > 0 ? static_cast<double>(outcome.input_tokens) / outcome.training_seconds : 0);
}

// Everything that is known before the weights are read.
struct Start {
    Inputs inputs;
    std::unique_ptr<OutputFolder> output;   // rank 0
    std::map<std::string, std::string> identity;
};

// All ranks compute with the instruction set that the oldest of them has. Rank 0 says whose it is where they differ.
void agree_on_isa(Communicator& ranks) {
    const std::vector<double> all = gather_values(ranks, {static_cast<double>(isa())});
    const auto lowest = std::min_element(all.begin(), all.end());
    const auto common = static_cast<Isa>(static_cast<int>(*lowest));
    if (ranks.rank() == 0 && *std::max_element(all.begin(), all.end()) > *lowest)
        log_warning(format("all ranks compute with instruction set {}, the highest that {} has", name_of(common),
                           ranks.name_of(static_cast<int>(lowest - all.begin()))));
    if (common != isa()) force_isa(common);
}

void agree_on_identity(Communicator& ranks, const std::map<std::string, std::string>& identity) {
    for (const auto& [name, digest] : identity) {
        const std::string expected = gather_texts(ranks, digest)[0];
        together(ranks, [&] {
            require(digest == expected, Exit::bad_recipe, "{} differs from rank 0's: found {}, expected {}", name,
                    digest, expected);
        });
    }
}

Start prepare(Communicator& ranks, const RunArguments& arguments) {
    Start start;
    agree_on_isa(ranks);
    Recipe recipe;
    together(ranks, [&] {
        constexpr const char* reason = "every rank reads it";
        if (ranks.size() > 1) require_regular(arguments.path, reason);
        recipe = load_recipe(arguments.path, arguments.overrides);
        if (ranks.size() > 1) require_regular_data(recipe, reason);
    });
    agree_on_identity(ranks, {{"device", std::string(enum_name(recipe.device))}});
    const Place place = open_place(recipe, ranks);
    together(ranks, [&] {
        const std::string output = recipe.output;
        const auto use = arguments.resume ? OutputFolder::Use::resume : OutputFolder::Use::fresh;
        start.inputs = check_inputs(std::move(recipe), [&] {
            if (ranks.rank() == 0) start.output = std::make_unique<OutputFolder>(output, use);
        });
        start.inputs.place = place;
        start.identity = identity_of(start.inputs);
    });
    std::map<std::string, std::string> agreed = start.identity;
    agreed["output"] = std::filesystem::absolute(start.inputs.recipe.output).lexically_normal().string();
    agree_on_identity(ranks, agreed);
    return start;
}

// The micro_batch that auto was when the run began changes bits, so it stays.
void take_recorded(Communicator& ranks, Start& start) {
    if (!start.inputs.recipe.training.micro_batch.automatic()) return;
    if (const auto rows = recorded_micro_batch(ranks, start.inputs.recipe.output)) set_micro_batch(start.inputs, *rows);
}

// What the recipe leaves to the machine's memory is decided, and becomes part of the result's identity.
MemoryPlan decide(Communicator& ranks, Start& start) {
    const bool open = leaves_memory_open(start.inputs.recipe);
    const bool on_device = start.inputs.place.is_cuda();
    const MemoryLeft left = on_device ? memory_left_on_device() : memory_left_for(ranks);
    const MemoryPlan plan = choose_memory(start.inputs, ranks, left);
    if (on_device)
        reserve_device_memory(plan.held());
    else
        keep_pool_within(left);
    start.identity["recipe"] = recipe_digest(start.inputs.recipe);
    if (open && start.output)
        std::printf("decided by memory: %s (%s leaves %s)\n", memory_choice_text(start.inputs.recipe).c_str(),
                    left.bound.c_str(), bytes_text(left.bytes).c_str());
    return plan;
}

// A finished run whose files are not those it wrote is not finished.
void check_result(const std::filesystem::path& folder) {
    for (const ListedFile& file : files_of(read_receipt(folder / receipt_name), folder))
        require(file.found == file.expected, Exit::bad_checkpoint,
                "{}: {}, although the run is finished; to make it again from the newest checkpoint, remove {}",
                (folder / file.name).string(), file.found.empty() ? "is missing" : "is not what the run wrote",
                (folder / receipt_name).string());
}

// Whether the run has come to its end before; says so.
bool already_finished(Communicator& ranks, const Start& start) {
    if (!any(ranks, start.output && start.output->finished())) return false;
    together(ranks, [&] {
        if (!start.output) return;
        const std::string changes = changes_text(start.output->path() / "recipe.yaml", start.inputs);
        require(changes.empty(), Exit::incompatible_resume,
                "{} holds a finished run of another recipe:{}\nchoose another output", start.output->path().string(),
                changes);
        check_result(start.output->path());
        std::printf("%s: this run is finished; there is nothing to do\n", start.output->path().c_str());
    });
    return true;
}

void introduce(const DataPath& path, const Start& start, const MemoryPlan& plan) {
    const Communicator& ranks = path.ranks();
    if (!start.output) return;
    for (const std::string& warning : warnings_of(start.inputs)) log_warning(warning);
    for (int rank = 0; rank < ranks.size() && ranks.size() > 1; ++rank)
        std::printf("%s\n", ranks.name_of(rank).c_str());
    print_start(start.inputs, path, plan);
}

// Where to go on; nothing to start from the beginning.
std::optional<ResumePoint> resume_point(Communicator& ranks, const Start& start, const RunArguments& arguments) {
    if (!arguments.resume) return std::nullopt;
    auto point = find_resume_point(ranks, start.inputs.recipe.output, arguments.resume_from, log_warning);
    together(ranks, [&] {
        if (start.output) refuse_blocked_names(start.output->path(), point ? point->state.step : 0);
    });
    if (!point) {
        if (start.output) std::printf("no checkpoint to resume from; starting from the beginning\n");
        return std::nullopt;
    }
    together(ranks, [&] {
        check_resumable(*point, start.inputs, start.identity, ranks.size(), arguments.numerics_may_change);
    });
    if (start.output)
        std::printf("resuming from %s: step %lld of %lld\n", point->folder.filename().c_str(),
                    static_cast<long long>(point->state.step), static_cast<long long>(start.inputs.total_steps));
    return point;
}

// The others must not wait for what this rank still has to clean up.
Trainer::Outcome train(Trainer& trainer, Communicator& ranks) {
    try {
        return trainer.run();
    } catch (const AgreedError&) {
        throw;
    } catch (const std::exception& exception) {
        const Error error = as_error(exception);
        ranks.abandon(static_cast<int>(error.code()), error.what());
        throw;
    }
}

int report_stop(const Start& start, const Trainer::Outcome& outcome) {
    if (start.output) {
        if (outcome.checkpoint.empty())
            log_error("stopped before the first step; nothing was learned");
        else
            log_error(format("stopped after step {} of {}; go on with --resume from {}/{}", outcome.state.step,
                             start.inputs.total_steps, start.inputs.recipe.output, outcome.checkpoint));
    }
    return static_cast<int>(outcome.stop == Stop::interrupted ? Exit::interrupted : Exit::preempted);
}

// Another rank is gone, or the way to it: nothing can be saved that is not safe already.
void end_at_once(int exit_code, const std::string& message) {
    log_error(message);
    _exit(exit_code);
}

int run_as_rank(Communicator& ranks, const RunArguments& arguments) {
    Start start = prepare(ranks, arguments);
    if (arguments.resume) take_recorded(ranks, start);
    if (arguments.resume && already_finished(ranks, start)) return 0;
    const auto path = open_data_path(ranks, start.inputs.place, end_at_once);
    const MemoryPlan plan = decide(ranks, start);
    introduce(*path, start, plan);
    together(ranks, [&] {
        if (start.output) start.output->open();
    });
    const auto point = resume_point(ranks, start, arguments);
    Trainer trainer(start.inputs, *path, start.output.get(), start.identity, plan.use.peak_offloaded());
    if (point) trainer.resume(*point);
    const Trainer::Outcome outcome = train(trainer, ranks);
    ignore_signals_from_now();
    if (start.output) print_end(start.inputs, plan, outcome);
    if (outcome.stop != Stop::no) return report_stop(start, outcome);
    if (start.output && outcome.patience_ended)
        std::printf("stopped early, at step %lld of %lld: no lower validation loss since step %lld (eval.patience)\n",
                    static_cast<long long>(outcome.state.step), static_cast<long long>(start.inputs.total_steps),
                    static_cast<long long>(outcome.state.best_step));
    if (start.output)
        std::printf("%s: %s\n", start.inputs.recipe.peft ? "adapter" : "model", start.inputs.recipe.output.c_str());
    return 0;
}

int run(const RunArguments& arguments) {
    end_when_signalled();
    const auto ranks = open_communicator(end_at_once);
    try {
        return run_as_rank(*ranks, arguments);
    } catch (const AgreedError& error) {
        if (ranks->rank() == 0) log_error(error);
        return static_cast<int>(error.code());
    } catch (const std::exception& exception) {
        const Error error = as_error(exception);
        ranks->abandon(static_cast<int>(error.code()), error.what());
        throw;
    }
}

int launch(int processes) {
    const LaunchOutcome outcome = launch_ranks(processes);
    if (!outcome.killed.empty()) log_error(outcome.killed);
    return outcome.exit_code;
}

// The DIR of `--resume=DIR` is the flag's value; that of `--resume DIR` arrives as RECIPE or among the overrides,
// wherever it stands.
void find_folder(RunArguments& arguments) {
    arguments.resume = !arguments.resume_word.empty();
    if (!arguments.resume) return;
    if (arguments.resume_word != "true") {
        arguments.resume_from = arguments.resume_word;
        return;
    }
    const auto is_folder = [](const std::string& word) {
        std::error_code ignored;
        return word.find('=') == std::string::npos &&
               (std::filesystem::is_directory(word, ignored) || std::filesystem::path(word).extension().empty());
    };
    const auto folder = std::find_if(arguments.overrides.begin(), arguments.overrides.end(),
                                     [](const std::string& word) { return word.find('=') == std::string::npos; });
    if (folder == arguments.overrides.end()) return;
    if (is_folder(arguments.path) && !is_folder(*folder)) std::swap(arguments.path, *folder);
    arguments.resume_from = *folder;
    arguments.overrides.erase(folder);
}

}   // namespace

std::function<int()> define_run(CLI::App& app) {
    const auto arguments = std::make_shared<RunArguments>();
    arguments->declare(app);
    app.add_option("--nproc", arguments->processes, "start so many processes on this machine, which share the work")
        ->check(count_from(1, std::numeric_limits<int>::max()));
    app.add_flag(
        "--resume", arguments->resume_word,
        "go on from the newest valid checkpoint of the recipe's output, or with --resume DIR or --resume=DIR from that "
        "checkpoint of it; where there is none, start from the beginning");
    app.add_flag("--allow-numerics-change", arguments->numerics_may_change,
                 "resume although this machine computes other bits");
    return [arguments] {
        find_folder(*arguments);
        return arguments->processes ? launch(*arguments->processes) : run(*arguments);
    };
}

}   // namespace trainer
