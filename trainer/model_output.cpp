#include "trainer/model_output.h"

#include "configs/error.h"
#include "configs/json.h"
#include "hub/adapter.h"
#include "hub/card.h"
#include "hub/export.h"
#include "hub/output_file.h"
#include "peft/targets.h"
#include "trainer/version.h"

namespace trainer {

namespace {

std::string base_name(const Inputs& inputs) { return inputs.recipe.model.hub_id.value_or(inputs.base.snapshot.base); }

using Values = std::function<const float*(const Parameter&)>;

void write_adapter_files(const std::filesystem::path& folder, const Inputs& inputs, CausalLm& model,
                         const PeftMethod& peft, const Values& values) {
    const LoraOptions& options = inputs.recipe.peft->lora;
    AdapterConfig config;
    config.base_model = base_name(inputs);
    config.revision = inputs.base.snapshot.revision;
    config.rank = options.rank;
    config.alpha = options.alpha;
    config.dropout = options.dropout;
    if (options.targets.names.empty() && options.targets.pattern != "all-linear") {
        config.target_regex = options.targets.pattern;
    } else {
        config.targets = options.targets.names.empty()
                             ? target_suffixes(select_targets(model.declarations().linears, options.targets))
                             : options.targets.names;
    }
    std::vector<AdapterModuleToWrite> modules;
    for (const AdaptedModule& module : peft.modules())
        modules.push_back({{module.name, module.a->shape.rows(), module.a->shape.columns(), module.b->shape.rows()},
                           values(*module.a),
                           values(*module.b)});
    write_adapter(folder, config, modules);
}

FileDType saved_dtype(const Inputs& inputs) {
    const DType dtype = stored_dtype(inputs.base.snapshot.config);
    return dtype == DType::f32 ? FileDType::f32 : dtype == DType::f16 ? FileDType::f16 : FileDType::bf16;
}

void write_whole_model(const std::filesystem::path& folder, const Inputs& inputs, CausalLm& model,
                       const Values& values) {
    ExportOptions options;
    options.dtype = saved_dtype(inputs);
    if (inputs.recipe.data.eos_token) options.eos_token_id = inputs.base.special.eos;
    std::vector<TensorToWrite> tensors;
    for (const auto& parameter : model.parameters().all())
        tensors.push_back(
            tensor_from_f32(parameter->name, parameter->shape.sizes(), values(*parameter), options.dtype));
    export_model(folder, inputs.base.snapshot, tensors, options);
}

// A template or end of text that the recipe chose goes with the tokenizer, so that it is used as it was trained.
void save_own_format(const std::filesystem::path& folder, const Inputs& inputs) {
    const DataOptions& data = inputs.recipe.data;
    if (data.chat_template != "tokenizer") write_file(folder / "chat_template.jinja", inputs.base.own_template);
    if (!data.eos_token) return;
    JsonStyle style;
    style.indent = 2;
    for (const char* name :
         {"tokenizer_config.json", "special_tokens_map.json"}) {   // the second may win when it is there
        const std::filesystem::path path = folder / name;
        const bool present = std::filesystem::exists(path);
        if (!present && name != std::string_view("tokenizer_config.json")) continue;
        Node config = present ? read_json(path) : Node::map();
        config.set("eos_token", *data.eos_token);
        write_file(path, to_json(config, style) + "\n");
    }
}

std::string card(const Inputs& inputs, bool adapter) {
    const Recipe& recipe = inputs.recipe;
    ModelCard card;
    card.title = std::filesystem::path(recipe.output).filename().string();
    if (inputs.base.snapshot.is_hub_id || recipe.model.hub_id) card.base_model = base_name(inputs);
    card.adapter = adapter;
    card.hyperparameters = {{"steps", std::to_string(inputs.total_steps)},
                            {"batch", std::to_string(recipe.training.batch)},
                            {"learning rate", format("{}", recipe.optimizer.lr)},
                            {"seed", std::to_string(recipe.training.seed)}};
    card.versions = {{"trainer", version_text}};
    return card_text(card);
}

}   // namespace

DType stored_dtype(const Node& config) {
    for (const char* key : {"dtype", "torch_dtype"})
        if (const Node* value = config.find(key); value && value->is_string()) {
            if (value->as_string() == "float32") return DType::f32;
            if (value->as_string() == "float16") return DType::f16;
            return DType::bf16;
        }
    return DType::bf16;
}

std::uint64_t ModelOutput::bytes() const {
    const auto elements = static_cast<std::uint64_t>(model.parameters().elements(peft != nullptr));
    std::uint64_t bytes = elements * static_cast<std::uint64_t>(peft ? 4 : bits_of(saved_dtype(inputs)) / 8);
    for (const auto& [name, text] : tokenizer_texts(inputs.base.snapshot)) bytes += text.size();
    return bytes;
}

void ModelOutput::write(const std::filesystem::path& folder) const {
    if (peft) {
        write_adapter_files(folder, inputs, model, *peft, values);
        export_tokenizer(folder, inputs.base.snapshot);
    } else {
        write_whole_model(folder, inputs, model, values);
    }
    save_own_format(folder, inputs);
    write_file(folder / "README.md", card(inputs, peft != nullptr));
}

}   // namespace trainer
