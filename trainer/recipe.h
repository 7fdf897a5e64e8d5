#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "configs/fields.h"
#include "trainer/recipe_sections.h"

namespace trainer {

// What a run does, as its YAML file says it (docs/recipe.md; `trainer list recipe --explain`).
struct Recipe {
    Device device = Device::automatic;
    ModelOptions model;
    Task task = Task::sft;
    DataOptions data;
    std::optional<PeftOptions> peft;   // nothing: full fine-tuning
    TrainingOptions training;
    OptimizerOptions optimizer;
    ScheduleOptions schedule;
    EvalOptions eval;
    CheckpointOptions checkpoint;
    LoggingOptions logging;
    std::string output;

    std::vector<std::string> warnings;   // of the checks across keys; no field

    template <typename Visitor>
    void fields(Visitor& field) {
        field("device", device, "where to compute; auto: on a GPU where there is one");
        field("model", model, "the model to start from", required());
        field("task", task, "what is learned");
        field("data", data, "what it is learned from", required());
        field("peft", peft, "a small adapter instead of all weights; without this section all weights are trained");
        field("training", training, "length, batch and precision");
        field("optimizer", optimizer, "the update rule");
        field("schedule", schedule, "the learning rate over the run");
        field("eval", eval, "when the validation data is measured");
        field("checkpoint", checkpoint, "what is kept while training, to resume from");
        field("logging", logging, "what is written while training");
        field("output", output, "the folder of the run", required(), not_empty());
    }
};

// Reads and checks a recipe. `overrides` are words "a.b=value". Throws Errors with everything that is wrong:
// Exit::usage for malformed overrides, Exit::no_input when the file is missing, Exit::bad_recipe for the rest.
Recipe load_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides = {});

// The same for a document that is already read; complaints are collected.
Recipe read_recipe(const Node& document, Complaints& complaints);

// Every key with its value: what the run folder's recipe.yaml holds. Reading it gives the same recipe.
Node resolved(const Recipe& recipe);

// JSON schema (draft 2020-12) of the recipe, for editors.
Node recipe_schema();

// Every key with type, default and help, for people.
std::string explain_recipe();

}   // namespace trainer
