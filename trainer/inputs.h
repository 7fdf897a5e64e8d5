#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/audit.h"
#include "data/batch.h"
#include "data/encoder.h"
#include "data/packer.h"
#include "data/plan.h"
#include "data/template.h"
#include "data/tokenizer.h"
#include "hub/snapshot.h"
#include "hub/weights_digest.h"
#include "models/causal_lm.h"
#include "peft/method.h"
#include "trainer/recipe.h"

namespace trainer {

// The model as the recipe wants it, declared but without memory.
struct DeclaredModel {
    std::unique_ptr<CausalLm> model;
    std::unique_ptr<PeftMethod> peft;   // null for full fine-tuning
};

// The base model's files, tokenizer and template: what must be known before rows can be read.
struct BaseModel {
    Snapshot snapshot;       // its config has the recipe's model.config on top
    WeightsDigest weights;   // of the snapshot's, when it was opened
    std::unique_ptr<Tokenizer> tokenizer;
    std::unique_ptr<ChatTemplate> chat;   // null when there is none
    std::string own_template;             // text of the file that the recipe names, else ""
    Encoder::Special special;
    std::vector<std::string> warnings;
};

// Error(no_input, unavailable, bad_data; bad_recipe for an unknown key of config_overrides). `eos_override` and
// `template_path` ("tokenizer": the model's own) as in the recipe's data section.
BaseModel open_base_model(const std::string& base, const std::string& revision, const Node& config_overrides,
                          const std::string& template_path, const std::string& eos_override);

// Error(bad_recipe) when targets, unfrozen_parameters or quantize.skip match nothing.
DeclaredModel declare_model(const Recipe& recipe, const Snapshot& snapshot);

struct ValidationSet {
    std::string name;   // "" or the recipe's name
    AuditedData data;
    std::vector<Row> rows;
};

// Everything a run works on, checked.
struct Inputs {
    Recipe recipe;
    Place place;   // where it is computed
    BaseModel base;
    std::unique_ptr<Encoder> encoder;
    AuditedData train;
    std::vector<Row> rows;
    std::vector<ValidationSet> valid;
    std::unique_ptr<StepPlan> plan;
    std::int64_t total_steps = 0;
};

// Leaf `leaf` of a step of the plan.
Batch make_leaf(const Inputs& inputs, const StepPlan::Step& planned, std::int64_t leaf);

// Everything worth a warning, of the recipe, the base model and the data.
std::vector<std::string> warnings_of(const Inputs& inputs);

// The sources of the recipe as data/audit wants them.
std::vector<DataSource> train_sources(const Recipe& recipe);
// Opens the base model and checks it: architecture, targets, names and shapes of the weights. The data is not read.
// Mistakes are reported all at once, here and below.
Inputs open_inputs(Recipe recipe);
// The same, and reads and packs all data and lays out the steps. `check_more`'s mistakes are reported with the others'.
Inputs check_inputs(Recipe recipe, const std::function<void()>& check_more);

// For files that several processes read, of which a pipe's content would reach one: Error(bad_data) with the reason
// unless it is a regular file, or not there.
void require_regular(const std::filesystem::path& path, std::string_view reason);
void require_regular_data(const Recipe& recipe, std::string_view reason);   // the same for all its sources

// Error(bad_recipe) when a full step has fewer leaves than ranks.
void check_ranks(const Inputs& inputs, int ranks);

// Of a step that is not the last of an epoch.
std::int64_t rows_of_full_step(const Inputs& inputs);
std::int64_t leaves_of_full_step(const Inputs& inputs, std::int64_t micro_batch);
// Cuts the steps into other leaves.
void set_micro_batch(Inputs& inputs, std::int64_t rows);

}   // namespace trainer
