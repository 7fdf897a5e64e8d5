#include "trainer/verify/short_plan.h"

#include <algorithm>

#include "comm/environment.h"
#include "comm/solo.h"
#include "configs/error.h"
#include "configs/json.h"
#include "optim/schedule.h"
#include "trainer/memory_choice.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

// The most that a step has rows for; 1 where it has for none.
int most_possible(const std::set<int>& ranks, const Inputs& inputs) {
    int most = 1;
    for (const int count : ranks)
        if (count <= rows_of_full_step(inputs)) most = std::max(most, count);
    return most;
}

Inputs checked(const std::string& path, const std::vector<std::string>& overrides, const std::set<int>& ranks) {
    constexpr const char* reason = "verify reads it once for every run";
    const auto launched = launched_from_environment();
    require(!launched, Exit::usage,
            "verify starts runs itself, but a launcher has started this process as rank {} of {}; start it alone",
            launched ? launched->rank : 0, launched ? launched->size : 0);
    require_regular(path, reason);
    Recipe recipe = load_recipe(path, overrides);
    require_regular_data(recipe, reason);
    Inputs inputs = check_inputs(std::move(recipe), [] {});
    if (leaves_memory_open(inputs.recipe)) {   // decided once for all runs
        const auto alone = make_solo();
        const int most = most_possible(ranks, inputs);
        choose_memory(inputs, *alone, memory_left(most), most);
    }
    return inputs;
}

}   // namespace

ShortPlan::ShortPlan(std::string recipe, std::vector<std::string> overrides, std::int64_t steps,
                     const std::set<int>& ranks)
    : recipe_(std::move(recipe)),
      overrides_(std::move(overrides)),
      steps_(steps),
      inputs_(checked(recipe_, overrides_, ranks)),
      scratch_(inputs_.recipe.output) {}

RunCommand ShortPlan::command(const std::vector<std::string>& more) const {
    RunCommand command;
    command.recipe = recipe_;
    command.output = scratch_.path() / "run";
    command.overrides = overrides_;
    const std::string steps = std::to_string(steps_);
    const std::string half = std::to_string((steps_ + 1) / 2);
    const std::vector<std::string> cut = {
        "training.steps=" + steps, "training.epochs=null", "checkpoint.every=" + steps, "checkpoint.keep=1",
        "checkpoint.best=false",   "eval.every=" + half,   "eval.patience=null"};
    command.overrides.insert(command.overrides.end(), cut.begin(), cut.end());
    const TrainingOptions& training = inputs_.recipe.training;
    command.overrides.push_back("training.recompute=" + std::string(enum_name(training.recompute)));
    command.overrides.push_back("training.micro_batch=" + std::to_string(training.micro_batch.rows));
    ScheduleOptions schedule = inputs_.recipe.schedule;
    if (schedule.warmup > static_cast<double>(steps_)) {
        schedule.warmup = 1;
        command.overrides.push_back("schedule.warmup=1");
    }
    if (schedule.name == ScheduleKind::cosine && schedule.cycles > most_cycles(schedule, steps_))
        command.overrides.push_back("schedule.cycles=1");
    command.overrides.insert(command.overrides.end(), more.begin(), more.end());
    command.overrides.push_back("output=" + to_json(Node(command.output.string())));
    return command;
}

RunRecord ShortPlan::run(const std::string& name, const RunCommand& command) const {
    run_as_child(command);
    return take(name, command);
}

RunRecord ShortPlan::take(const std::string& name, const RunCommand& command) const {
    RunRecord record = read_record(name, command.output);
    fs::remove_all(command.output);
    return record;
}

}   // namespace trainer
