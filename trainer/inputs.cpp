#include "trainer/inputs.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "configs/error.h"
#include "models/registry.h"
#include "peft/registry.h"

namespace trainer {

namespace {

std::string file_text(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    require(in.is_open(), Exit::no_input, "data.template: {} cannot be opened; expected \"tokenizer\" or a .jinja file",
            path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::unique_ptr<ChatTemplate> open_template(const Node& tokenizer_config, const std::string& path) {
    if (path != "tokenizer") return std::make_unique<ChatTemplate>(file_text(path), path);
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

void check_files(const Recipe& recipe) {
    std::vector<Error> missing;
    const auto look = [&](const std::string& key, const std::string& path) {
        std::error_code ignored;
        if (std::filesystem::is_directory(path, ignored))
            missing.emplace_back(Exit::no_input, format("{}: {} is a folder, expected a file", key, path));
        else if (access(path.c_str(), R_OK) != 0)
            missing.emplace_back(
                Exit::no_input, errno == ENOENT ? format("{}: there is no file {}", key, path)
                                                : format("{}: {} cannot be read: {}", key, path, std::strerror(errno)));
    };
    for (const TrainSource& source : recipe.data.train) look("data.train", source.path);
    for (const ValidSource& source : recipe.data.valid) look("data.valid", source.path);
    if (recipe.data.chat_template != "tokenizer") look("data.template", recipe.data.chat_template);
    const std::string& base = recipe.model.base;
    const bool is_path =
        base.starts_with("/") || base.starts_with("./") || base.starts_with("../") || base.ends_with(".gguf");
    std::error_code ignored;
    if (is_path && !std::filesystem::exists(base, ignored))
        missing.emplace_back(Exit::no_input, format("model.base: there is no file or folder {}", base));
    if (!missing.empty()) throw Errors(std::move(missing));
}

}   // namespace

BaseModel open_base_model(const std::string& base, const std::string& revision, const Node& config_overrides,
                          const std::string& template_path, const std::string& eos_override) {
    BaseModel out;
    out.snapshot = open_snapshot(base, revision);
    out.config = out.snapshot.config;
    if (config_overrides.is_map())
        for (const Node::Entry& entry : config_overrides.as_map()) out.config.set(entry.key, entry.value);
    require(!out.snapshot.tokenizer.is_null(), Exit::bad_data, "{}: there is no tokenizer.json", base);
    out.tokenizer = make_tokenizer(out.snapshot.tokenizer);
    out.chat = open_template(out.snapshot.tokenizer_config, template_path);
    out.warnings = out.snapshot.notes;
    out.special = special_tokens(out.snapshot.tokenizer_config, out.config, *out.tokenizer, eos_override, out.warnings);
    return out;
}

DeclaredModel declare_model(const Node& config, const std::optional<PeftOptions>& peft) {
    DeclaredModel out;
    out.model = make_causal_lm(config);
    if (peft) {
        out.peft = peft_methods().at(peft->method)(peft->lora);
        out.peft->attach(out.model->declarations());
    } else {
        for (const auto& parameter : out.model->parameters().all()) parameter->trainable = true;
    }
    return out;
}

std::vector<DataSource> train_sources(const Recipe& recipe) {
    std::vector<DataSource> sources;
    for (const TrainSource& source : recipe.data.train) sources.push_back({source.path, source.format, source.weight});
    return sources;
}

Inputs open_inputs(Recipe recipe) {
    check_files(recipe);
    Inputs inputs;
    inputs.recipe = std::move(recipe);
    const DataOptions& data = inputs.recipe.data;
    inputs.base = open_base_model(inputs.recipe.model.base, inputs.recipe.model.revision, inputs.recipe.model.config,
                                  data.chat_template, data.eos_token.value_or(""));
    declare_model(inputs.base.config, inputs.recipe.peft);   // architecture and targets are right
    inputs.encoder = std::make_unique<Encoder>(*inputs.base.tokenizer, inputs.base.chat.get(), inputs.base.special,
                                               encode_options(data));
    return inputs;
}

void read_data(Inputs& inputs) {
    const Recipe& recipe = inputs.recipe;
    const std::int64_t vocabulary = inputs.base.config.at("vocab_size").as_integer();
    const auto seed = static_cast<std::uint64_t>(recipe.training.seed);
    std::vector<Error> errors;
    const auto collect = [&](auto&& work) {
        try {
            work();
        } catch (const Errors& several) {
            errors.insert(errors.end(), several.all().begin(), several.all().end());
        } catch (const Error& one) {
            errors.push_back(one);
        }
    };
    collect([&] { inputs.train = audit(train_sources(recipe), *inputs.encoder, vocabulary, seed); });
    for (const ValidSource& source : recipe.data.valid)
        collect([&] {
            ValidationSet set{
                source.name, audit({{source.path, source.format, 1.0}}, *inputs.encoder, vocabulary, seed), {}};
            set.rows = pack(set.data.examples, recipe.data);
            inputs.valid.push_back(std::move(set));
        });
    if (!errors.empty()) throw Errors(std::move(errors));

    inputs.rows = pack(inputs.train.examples, recipe.data);
    inputs.plan = std::make_unique<StepPlan>(
        static_cast<std::int64_t>(inputs.rows.size()),
        StepPlan::Options{recipe.training.batch, recipe.training.micro_batch, recipe.data.drop_last, seed});
    inputs.total_steps =
        recipe.training.steps ? *recipe.training.steps : inputs.plan->total_steps(*recipe.training.epochs);
}

}   // namespace trainer
