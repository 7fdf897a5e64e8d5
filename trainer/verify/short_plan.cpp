#include "trainer/verify/short_plan.h"

#include "comm/environment.h"
#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

void require_file(const fs::path& path) {
    std::error_code ignored;
    require(fs::is_regular_file(path, ignored) || !fs::exists(path, ignored), Exit::bad_data,
            "{}: is no regular file; verify reads the data once for every run, so save them to a file first",
            path.string());
}

Inputs checked(Recipe recipe) {
    const auto launched = launched_from_environment();
    require(!launched, Exit::usage,
            "verify starts runs itself, but a launcher has started this process as rank {} of {}; start it alone",
            launched ? launched->rank : 0, launched ? launched->size : 0);
    for (const TrainSource& source : recipe.data.train) require_file(source.path);
    for (const ValidSource& source : recipe.data.valid) require_file(source.path);
    return check_inputs(std::move(recipe), [] {});
}

}   // namespace

ShortPlan::ShortPlan(std::string recipe, std::vector<std::string> overrides, std::int64_t steps)
    : recipe_(std::move(recipe)),
      overrides_(std::move(overrides)),
      steps_(steps),
      inputs_(checked(load_recipe(recipe_, overrides_))),
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
    if (inputs_.recipe.schedule.warmup > static_cast<double>(steps_)) command.overrides.push_back("schedule.warmup=1");
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
