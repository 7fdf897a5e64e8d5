#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "autograd/cuda/runtime.h"
#include "comm/solo.h"
#include "configs/error.h"
#include "configs/json.h"
#include "trainer/commands/command.h"
#include "trainer/commands/recipe_arguments.h"
#include "trainer/device.h"
#include "trainer/log.h"
#include "trainer/memory_choice.h"
#include "trainer/output_folder.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

void print_report(const std::string& name, const AuditReport& report) {
    std::printf("%s: %lld rows, %lld kept, %lld cut, %lld tokens (%lld trained), longest %lld\n", name.c_str(),
                static_cast<long long>(report.rows), static_cast<long long>(report.kept),
                static_cast<long long>(report.cut), static_cast<long long>(report.tokens),
                static_cast<long long>(report.targets), static_cast<long long>(report.longest_before));
    for (const auto& [reason, entry] : report.dropped)
        std::printf("  dropped %lld: %s (first %s)\n", static_cast<long long>(entry.count), reason.c_str(),
                    entry.first.c_str());
}

Node errors_of(const Error& error) {
    Node list = Node::list();
    if (const auto* several = dynamic_cast<const Errors*>(&error)) {
        for (const Error& one : several->all()) list.push_back(Node(one.what()));
    } else {
        list.push_back(Node(error.what()));
    }
    return list;
}

Node data_node(const Inputs& inputs) {
    Node data = Node::map();
    data.set("train", inputs.train.report.to_node());
    Node valid = Node::map();
    for (const ValidationSet& set : inputs.valid)
        valid.set(set.name.empty() ? "valid" : set.name, set.data.report.to_node());
    data.set("valid", std::move(valid));
    data.set("rows_per_epoch", static_cast<std::int64_t>(inputs.rows.size()));
    data.set("steps_per_epoch", inputs.plan->steps_per_epoch());
    data.set("steps", inputs.total_steps);
    return data;
}

// A recipe for a GPU may be checked where there is none.
Place place_of(const Recipe& recipe) {
    if (recipe.device != Device::cuda || cuda::device_count() > 0 || leaves_memory_open(recipe))
        return open_place(recipe, *make_solo());
    log_warning("the run would not start here: device: cuda, but " + cuda::why_absent());
    return Place::cuda();
}

Inputs checked_inputs(const RecipeArguments& arguments) {
    Recipe recipe = load_recipe(arguments.path, arguments.overrides);
    const std::string output = recipe.output;
    const Place place = place_of(recipe);
    Inputs inputs = check_inputs(std::move(recipe), [&] { OutputFolder proved(output); });
    inputs.place = place;
    return inputs;
}

// The plan, with what the recipe leaves to memory decided for this machine. It may not be the one that trains: a recipe
// that says all itself is only warned about.
MemoryPlan decided_plan(Inputs& inputs) {
    const auto alone = make_solo();
    if (inputs.place.is_cuda() && !cuda::opened_device()) return plan_memory(inputs, *alone);
    const MemoryLeft left = inputs.place.is_cuda() ? memory_left_on_device() : memory_left_for(*alone);
    if (leaves_memory_open(inputs.recipe)) return choose_memory(inputs, *alone, left);
    MemoryPlan plan = plan_memory(inputs, *alone);
    if (plan.total() > left.bytes)
        log_warning(format("the run would not start here: its plan needs {}, and {} leaves {}",
                           bytes_text(plan.total()), left.bound, bytes_text(left.bytes)));
    return plan;
}

Node plan_node(Inputs& inputs) {
    Node plan = decided_plan(inputs).to_node();
    plan.set("recompute", enum_name(inputs.recipe.training.recompute));
    plan.set("micro_batch", inputs.recipe.training.micro_batch.rows);
    return plan;
}

int check_as_json(const RecipeArguments& arguments) {
    Node out = Node::map();
    int code = 0;
    try {
        Inputs inputs = checked_inputs(arguments);
        out.set("plan", plan_node(inputs));
        out.set("data", data_node(inputs));
        out.set("errors", Node::list());
    } catch (const Error& error) {
        out = Node::map();
        out.set("plan", nullptr);
        out.set("data", nullptr);
        out.set("errors", errors_of(error));
        code = static_cast<int>(error.code());
    }
    JsonStyle style;
    style.null_for_nonfinite = true;
    std::printf("%s\n", to_json(out, style).c_str());
    return code;
}

int check_for_people(const RecipeArguments& arguments) {
    Inputs inputs = checked_inputs(arguments);
    for (const std::string& warning : warnings_of(inputs)) log_warning(warning);
    print_report("training data", inputs.train.report);
    for (const ValidationSet& set : inputs.valid)
        print_report(set.name.empty() ? "validation data" : "validation data " + set.name, set.data.report);
    std::printf("steps: %lld, %lld an epoch over %s\n", static_cast<long long>(inputs.total_steps),
                static_cast<long long>(inputs.plan->steps_per_epoch()), rows_text(inputs).c_str());
    const bool open = leaves_memory_open(inputs.recipe);
    const MemoryPlan plan = decided_plan(inputs);
    if (open) std::printf("decided by memory: %s\n", memory_choice_text(inputs.recipe).c_str());
    std::printf("parameters: %lld, %lld trained\n%s\n%s: no mistakes found\n", static_cast<long long>(plan.parameters),
                static_cast<long long>(plan.trainable), plan.table().c_str(), arguments.path.c_str());
    return 0;
}

}   // namespace

std::function<int()> define_check(CLI::App& app) {
    const auto arguments = std::make_shared<RecipeArguments>();
    const auto json = std::make_shared<bool>(false);
    arguments->declare(app);
    app.add_flag("--json", *json, "one JSON object: plan, data, errors");
    return [arguments, json] { return *json ? check_as_json(*arguments) : check_for_people(*arguments); };
}

}   // namespace trainer
