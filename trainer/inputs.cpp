#include "trainer/inputs.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <regex>

#include "configs/error.h"
#include "configs/file.h"
#include "hub/load.h"
#include "models/registry.h"
#include "optim/schedule.h"
#include "peft/adapters_beside.h"
#include "peft/learning_rates.h"
#include "peft/registry.h"
#include "peft/saved_adapter.h"
#include "trainer/adapter_base_check.h"
#include "trainer/base_format.h"
#include "trainer/run_options.h"

namespace trainer {

namespace {

// The text of a template file, read once; "" for the tokenizer's own.
std::string read_template(const std::string& path) {
    if (path == "tokenizer") return "";
    std::error_code ignored;
    require(std::filesystem::exists(path, ignored), Exit::no_input, "data.template: there is no file {}", path);
    return read_text_file(path);
}

std::unique_ptr<ChatTemplate> open_template(const Node& tokenizer_config, const std::string& path,
                                            const std::string& text) {
    if (path != "tokenizer") return std::make_unique<ChatTemplate>(text, path);
    const Node* source = tokenizer_config.find("chat_template");
    if (!source || source->is_null()) return nullptr;
    return std::make_unique<ChatTemplate>(source->as_string(), "chat_template");
}

std::vector<Row> pack(const std::vector<Example>& examples, const DataOptions& options) {
    return options.packing == PackingStrategy::none ? rows_without_packing(examples)
                                                    : pack_best_fit(examples, options.max_length);
}

EncodeOptions encode_options(const DataOptions& data) {
    return {data.train_on, data.max_length, data.overlong, data.on_bad_row, data.system.value_or("")};
}

void check_data_files(const Recipe& recipe) {
    std::vector<Error> missing;
    const auto look = [&](const std::string& key, const std::string& path) {
        if (const std::string kind = kind_of_no_file(path); !kind.empty())
            missing.emplace_back(Exit::no_input, format("{}: {} is {}, expected a file", key, path, kind));
        else if (access(path.c_str(), R_OK) != 0)
            missing.emplace_back(
                Exit::no_input, errno == ENOENT ? format("{}: there is no file {}", key, path)
                                                : format("{}: {} cannot be read: {}", key, path, std::strerror(errno)));
    };
    for (const TrainSource& source : recipe.data.train) look("data.train", source.path);
    for (const ValidSource& source : recipe.data.valid) look("data.valid", source.path);
    if (!missing.empty()) throw Errors(std::move(missing));
}

void check_base_path(const std::string& base) {
    const bool is_path =
        base.starts_with("/") || base.starts_with("./") || base.starts_with("../") || base.ends_with(".gguf");
    std::error_code ignored;
    require(!is_path || std::filesystem::exists(base, ignored), Exit::no_input,
            "model.base: there is no file or folder {}", base);
}

// Those that the recipe names have to be this base's.
void check_adapters_of(Inputs& inputs) {
    const AdapterOptions& options = inputs.recipe.peft->adapter;
    std::vector<std::string> folders;
    if (options.continue_from) folders.push_back(*options.continue_from);
    for (const auto& [name, folder] : options.beside.folders) folders.push_back(folder);
    for (const std::string& folder : folders)
        check_base_of(folder, inputs.base, {options.other_base, "peft.other_base: true"});
}

void open_base(Inputs& inputs) {
    const Recipe& recipe = inputs.recipe;
    check_base_path(recipe.model.base);
    inputs.base = open_base_model(recipe.model.base, recipe.model.revision, recipe.model.config,
                                  recipe.data.chat_template, recipe.data.eos_token.value_or(""));
    const Snapshot& snapshot = inputs.base.snapshot;
    const DeclaredModel declared = declare_model(recipe, snapshot);
    check_groups(recipe.optimizer.groups, declared.model->parameters().trainable());
    check_parameters(declared.model->parameters(), *snapshot.weights, snapshot.base);
    if (const std::string twice = rounded_twice(declared.model->parameters(), snapshot); !twice.empty())
        inputs.base.warnings.push_back("model.quantize: " + twice + "; stored keeps them as they are");
    if (recipe.peft) check_adapters_of(inputs);
    inputs.encoder = std::make_unique<Encoder>(*inputs.base.tokenizer, inputs.base.chat.get(), inputs.base.special,
                                               encode_options(recipe.data));
}

// What recipe_check asks of a run whose steps the recipe gives, for one of epochs.
void check_schedule_fits(const ScheduleOptions& schedule, std::int64_t steps) {
    const std::int64_t warmup = warmup_updates(schedule, steps);
    const std::int64_t decay = schedule.name == ScheduleKind::wsd ? decay_updates(schedule, steps) : 0;
    require(warmup <= steps, Exit::bad_recipe,
            "schedule.warmup: a warm-up of {} steps is longer than the run, whose epochs are {} steps", warmup, steps);
    require(decay <= steps, Exit::bad_recipe,
            "schedule.decay: a decay of {} steps is longer than the run, whose epochs are {} steps", decay, steps);
    require(warmup + decay <= steps, Exit::bad_recipe,
            "schedule: a warm-up of {} and a decay of {} steps are longer than the run, whose epochs are {} steps",
            warmup, decay, steps);
    const std::int64_t most = most_cycles(schedule, steps);
    require(
        schedule.name != ScheduleKind::cosine || schedule.cycles <= most, Exit::bad_recipe,
        "schedule.cycles: expected at most {}, found {}: each of several takes two steps, and after warm-up the run, "
        "whose epochs are {} steps, has {}",
        most, schedule.cycles, steps, steps - warmup);
}

// With micro_batch: auto the leaves are those of `set_micro_batch`, later.
std::unique_ptr<StepPlan> make_plan(const Inputs& inputs) {
    const TrainingOptions& training = inputs.recipe.training;
    const std::int64_t leaf = training.micro_batch.automatic() ? 1 : training.micro_batch.rows;
    return std::make_unique<StepPlan>(static_cast<std::int64_t>(inputs.rows.size()),
                                      StepPlan::Options{training.batch, leaf, inputs.recipe.data.drop_last,
                                                        static_cast<std::uint64_t>(training.seed)});
}

void read_data(Inputs& inputs) {
    const Recipe& recipe = inputs.recipe;
    const Node& config = inputs.base.snapshot.config;
    const std::int64_t vocabulary = config.at("vocab_size").as_integer();
    const auto seed = static_cast<std::uint64_t>(recipe.training.seed);
    ErrorCollector errors;
    errors.run([&] { inputs.train = audit(train_sources(recipe), *inputs.encoder, vocabulary, seed); });
    for (const ValidSource& source : recipe.data.valid)
        errors.run([&] {
            ValidationSet set{
                source.name, audit({{source.path, source.format, 1.0}}, *inputs.encoder, vocabulary, seed), {}};
            set.rows = pack(set.data.examples, recipe.data);
            inputs.valid.push_back(std::move(set));
        });
    errors.raise();

    inputs.rows = pack(inputs.train.examples, recipe.data);
    inputs.plan = make_plan(inputs);
    inputs.total_steps =
        recipe.training.steps ? *recipe.training.steps : inputs.plan->total_steps(*recipe.training.epochs);
    if (recipe.training.epochs) check_schedule_fits(recipe.schedule, inputs.total_steps);
    const Node* positions = config.find("max_position_embeddings");
    if (positions && positions->is_integer() && longest_document(inputs) > positions->as_integer())
        inputs.base.warnings.push_back(format("the longest row has {} tokens, the model was made for {} positions",
                                              longest_document(inputs), positions->as_integer()));
}

// The recipe's model.config on top of the base's config.json. A key that neither has nor the model reads would be
// without effect: Errors(bad_recipe).
void override_config(Node& config, const Node& overrides, const std::string& base) {
    if (!overrides.is_map()) return;
    std::vector<std::string> known = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (const Node::Entry& entry : config.as_map()) known.push_back(entry.key);
    const Node* type = overrides.find("model_type") ? overrides.find("model_type") : config.find("model_type");
    if (const Architecture* model = type && type->is_string() ? causal_lms().find(type->as_string()) : nullptr)
        for (std::string& key : model->config_keys()) known.push_back(std::move(key));
    Complaints complaints;
    for (const Node::Entry& entry : overrides.as_map()) {
        if (std::find(known.begin(), known.end(), entry.key) == known.end())
            complaints.add(entry.mark, format("model.config.{}: unknown key; {}neither the config of {} has it nor "
                                              "does the model read it",
                                              entry.key, did_you_mean(entry.key, known), base));
        config.set(entry.key, entry.value);
    }
    complaints.raise();
}

// Without patterns all parameters are trained, else those whose name begins with a match of one.
void choose_trainable(ParameterSet& parameters, const std::vector<std::string>& patterns) {
    constexpr const char* key = "training.unfrozen_parameters";
    for (const auto& parameter : parameters.all()) parameter->trainable = patterns.empty();
    for (const std::string& pattern : patterns) {
        bool any = false;
        try {
            const std::regex regex(pattern);
            for (const auto& parameter : parameters.all())
                if (std::regex_search(parameter->name, regex, std::regex_constants::match_continuous))
                    parameter->trainable = any = true;
        } catch (const std::regex_error& error) {
            fail(Exit::bad_recipe, "{}: \"{}\" is no regular expression: {}", key, pattern, error.what());
        }
        require(any, Exit::bad_recipe, "{}: no name of a parameter begins with a match of \"{}\"; such a name is {}",
                key, pattern, parameters.all().back()->name);
    }
}

}   // namespace

BaseModel open_base_model(const std::string& base, const std::string& revision, const Node& config_overrides,
                          const std::string& template_path, const std::string& eos_override) {
    BaseModel out;
    out.snapshot = open_snapshot(base, revision);
    override_config(out.snapshot.config, config_overrides, base);
    require(!out.snapshot.tokenizer.is_null(), Exit::bad_data, "{}: there is no tokenizer.json", base);
    out.weights = digest_of_weights(*out.snapshot.weights);
    out.tokenizer = make_tokenizer(out.snapshot.tokenizer);
    out.own_template = read_template(template_path);
    out.chat = open_template(out.snapshot.tokenizer_config, template_path, out.own_template);
    out.warnings = out.snapshot.notes;
    out.special =
        special_tokens(out.snapshot.tokenizer_config, out.snapshot.config, *out.tokenizer, eos_override, out.warnings);
    return out;
}

DeclaredModel declare_model(const Recipe& recipe, const Snapshot& snapshot) {
    DeclaredModel out;
    out.model = make_causal_lm(snapshot.config);
    if (recipe.peft) {
        const AdapterOptions& options = recipe.peft->adapter;
        if (options.continue_from)
            out.peft = std::make_unique<SavedAdapter>(*options.continue_from);
        else
            out.peft = peft_methods().at(recipe.peft->method).make(options);
        if (!options.beside.folders.empty()) {
            std::vector<NamedAdapter> others;
            for (const auto& [name, folder] : options.beside.folders) others.push_back({name, folder});
            out.peft = beside_others(std::move(out.peft), options.name, others);
        }
        out.peft->attach(out.model->declarations());
        scale_learning_rates(out.peft->parameters(), options.loraplus_lr_ratio);
    } else {
        choose_trainable(out.model->parameters(), recipe.training.unfrozen_parameters);
    }
    for (Parameter* parameter : out.model->parameters().trainable())
        parameter->trained_dtype = recipe.optimizer.master == Master::bf16 ? DType::bf16 : DType::f32;
    choose_formats(out.model->declarations(), recipe.model, snapshot);
    return out;
}

std::vector<std::string> warnings_of(const Inputs& inputs) {
    std::vector<std::string> all = inputs.recipe.warnings;
    if (inputs.recipe.training.tf32 && !inputs.place.on_device())
        all.push_back("training.tf32: this run is computed on the CPU, whose f32 products are exact; it has no effect");
    const auto add = [&all](const std::vector<std::string>& some) { all.insert(all.end(), some.begin(), some.end()); };
    add(inputs.base.warnings);
    add(inputs.train.report.warnings);
    for (const ValidationSet& set : inputs.valid) add(set.data.report.warnings);
    return all;
}

std::vector<DataSource> train_sources(const Recipe& recipe) {
    std::vector<DataSource> sources;
    for (const TrainSource& source : recipe.data.train) sources.push_back({source.path, source.format, source.weight});
    return sources;
}

void require_regular(const std::filesystem::path& path, std::string_view reason) {
    std::error_code ignored;
    require(std::filesystem::is_regular_file(path, ignored) || !std::filesystem::exists(path, ignored), Exit::bad_data,
            "{}: is no regular file; {}, so save it to a file first", path.string(), reason);
}

void require_regular_data(const Recipe& recipe, std::string_view reason) {
    for (const TrainSource& source : recipe.data.train) require_regular(source.path, reason);
    for (const ValidSource& source : recipe.data.valid) require_regular(source.path, reason);
}

Inputs open_inputs(Recipe recipe) {
    Inputs inputs;
    inputs.recipe = std::move(recipe);
    ErrorCollector errors;
    errors.run([&] { check_data_files(inputs.recipe); });
    errors.run([&] { open_base(inputs); });
    errors.raise();
    return inputs;
}

Inputs check_inputs(Recipe recipe, const std::function<void()>& check_more) {
    Inputs inputs;
    inputs.recipe = std::move(recipe);
    ErrorCollector errors;
    const bool files = errors.run([&] { check_data_files(inputs.recipe); });
    const bool base = errors.run([&] { open_base(inputs); });
    errors.run(check_more);
    if (files && base) errors.run([&] { read_data(inputs); });
    errors.raise();
    return inputs;
}

Batch make_leaf(const Inputs& inputs, const StepPlan::Step& planned, std::int64_t leaf) {
    return make_batch(inputs.train.examples, inputs.rows, planned.leaves[static_cast<std::size_t>(leaf)],
                      static_cast<std::uint64_t>(inputs.recipe.training.seed), planned.epoch, inputs.place);
}

void set_micro_batch(Inputs& inputs, std::int64_t rows) {
    inputs.recipe.training.micro_batch.rows = rows;
    inputs.plan = make_plan(inputs);
}

std::int64_t rows_of_full_step(const Inputs& inputs) {
    return std::min(inputs.recipe.training.batch, static_cast<std::int64_t>(inputs.rows.size()));
}

std::int64_t leaves_of_full_step(const Inputs& inputs, std::int64_t micro_batch) {
    return (rows_of_full_step(inputs) + micro_batch - 1) / micro_batch;
}

void check_ranks(const Inputs& inputs, int ranks) {
    require(ranks == 1 || !inputs.recipe.optimizer.in_backward, Exit::bad_recipe,
            "optimizer.in_backward: a step has one leaf, which one rank computes; start one rank instead of {}", ranks);
    const std::int64_t rows = rows_of_full_step(inputs);
    require(rows >= ranks, Exit::bad_recipe, "training.batch: a step has {} rows, too few for {} ranks; start fewer",
            rows, ranks);
    const MicroBatch micro_batch = inputs.recipe.training.micro_batch;
    const auto leaves = [&](std::int64_t size) { return leaves_of_full_step(inputs, size); };
    if (micro_batch.automatic() || leaves(micro_batch.rows) >= ranks) return;
    std::int64_t largest = micro_batch.rows;
    while (leaves(largest) < ranks) --largest;
    fail(Exit::bad_recipe,
         "training.micro_batch: {} rows a step in leaves of {} are {} leaves, too few for {} ranks; the largest "
         "micro_batch that fits is {}",
         rows, micro_batch.rows, leaves(micro_batch.rows), ranks, largest);
}

}   // namespace trainer
