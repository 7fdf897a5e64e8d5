#include "trainer/model_output.h"

#include <algorithm>
#include <map>

#include "comm/parameter_slice.h"
#include "configs/error.h"
#include "configs/json.h"
#include "hub/adapter.h"
#include "hub/card.h"
#include "hub/export.h"
#include "hub/output_file.h"
#include "peft/adapter_config.h"
#include "trainer/version.h"

namespace trainer {

namespace {

std::string base_name(const Inputs& inputs) { return inputs.recipe.model.hub_id.value_or(inputs.base.snapshot.base); }

// Where PEFT keeps an adapter of that name.
std::filesystem::path adapter_place(const std::string& name) {
    return name == AdapterOptions().name ? std::filesystem::path() : std::filesystem::path(name);
}

using Values = std::function<Tensor(const Parameter&)>;

// As f32, on the host.
std::vector<float> widened_values(const Tensor& value) {
    if (value.dtype() == DType::f32) return value.to_vector<float>();
    std::vector<float> out(static_cast<std::size_t>(value.elements()));
    const Tensor here = on_place(value, Place::cpu());
    const auto* from = here.data<bf16>();
    std::transform(from, from + value.elements(), out.begin(), [](bf16 one) { return static_cast<float>(one); });
    return out;
}

void write_adapter_files(const std::filesystem::path& folder, const Inputs& inputs, const PeftMethod& peft,
                         const Values& values) {
    AdapterConfig config = peft.config();
    config.base_model = base_name(inputs);
    config.revision = inputs.base.snapshot.revision;
    std::map<const Parameter*, std::vector<float>> widened;
    const auto in_f32 = [&](const Parameter& parameter) -> const float* {
        const Tensor value = values(parameter);
        if (value.dtype() == DType::f32 && value.place().is_cpu()) return value.data<float>();
        const auto [made, fresh] = widened.try_emplace(&parameter);
        if (fresh) made->second = widened_values(value);
        return made->second.data();
    };
    write_adapter(folder, config, peft.tensors(in_f32), inputs.base.weights);
}

// A trained parameter, converted when its turn comes; whoever holds the memory of `value` keeps it until then.
TensorToWrite tensor_of(const Parameter& parameter, const Tensor& value, FileDType dtype) {
    const FileShape shape = parameter.shape.sizes();
    const bool here = value.place().is_cpu();
    if (here && value.dtype() == DType::f32) return tensor_from_f32(parameter.name, shape, value.data<float>(), dtype);
    if (here && file_dtype(value.dtype()) == dtype) return {parameter.name, dtype, shape, bytes_of(value), {}};
    TensorToWrite tensor{parameter.name, dtype, shape, {}, {}};
    tensor.produce = [name = parameter.name, shape, value, dtype](const ByteSink& sink) {
        const std::vector<float> values = widened_values(value);
        tensor_from_f32(name, shape, values.data(), dtype).produce(sink);
    };
    return tensor;
}

// A frozen parameter as the base's files have it, read when its turn comes.
TensorToWrite tensor_of_base(const Parameter& parameter, const WeightSource& weights, FileDType dtype) {
    TensorToWrite tensor{parameter.name, dtype, parameter.shape.sizes(), {}, {}};
    tensor.produce = [&parameter, &weights, dtype](const ByteSink& sink) {
        std::vector<float> values(static_cast<std::size_t>(parameter.shape.elements()));
        weights.read(parameter.name, DType::f32, values.data());
        tensor_from_f32(parameter.name, parameter.shape.sizes(), values.data(), dtype).produce(sink);
    };
    return tensor;
}

void write_whole_model(const std::filesystem::path& folder, const Inputs& inputs, CausalLm& model,
                       const Values& values) {
    ExportOptions options;
    options.dtype = saved_dtype(inputs.base.snapshot.config);
    if (inputs.recipe.data.eos_token) options.eos_token_id = inputs.base.special.eos;
    std::vector<TensorToWrite> tensors;
    for (const auto& parameter : model.parameters().all())
        tensors.push_back(parameter->trainable
                              ? tensor_of(*parameter, values(*parameter), options.dtype)
                              : tensor_of_base(*parameter, *inputs.base.snapshot.weights, options.dtype));
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

std::string card(const Inputs& inputs, const PeftMethod* peft) {
    const bool adapter = peft != nullptr;
    const Recipe& recipe = inputs.recipe;
    ModelCard card;
    card.title = std::filesystem::path(recipe.output).filename().string();
    if (inputs.base.snapshot.is_hub_id || recipe.model.hub_id) card.base_model = base_name(inputs);
    card.adapter = adapter;
    if (adapter) card.method = adapter_method(peft->config());
    if (adapter && !recipe.peft->adapter.beside.folders.empty()) {
        card.description = "Trained while these adapters acted with it, frozen; it is meant to be used with them:";
        for (const auto& [name, place] : recipe.peft->adapter.beside.folders)
            card.description += format(" {} ({}),", name, std::filesystem::path(place).filename().string());
        card.description.back() = '.';
    }
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

FileDType saved_dtype(const Node& config) { return file_dtype(stored_dtype(config)); }

std::uint64_t ModelOutput::bytes() const {
    std::uint64_t elements = 0;   // of what an adapter brings along, or of the whole model
    for (const auto& parameter : model.parameters().all())
        if (!peft || !parameter->in_base) elements += static_cast<std::uint64_t>(parameter->shape.elements());
    std::uint64_t bytes =
        elements * static_cast<std::uint64_t>(peft ? 4 : bits_of(saved_dtype(inputs.base.snapshot.config)) / 8);
    for (const auto& [name, text] : tokenizer_texts(inputs.base.snapshot)) bytes += text.size();
    return bytes;
}

void ModelOutput::write(const std::filesystem::path& folder) const {
    std::filesystem::path own = folder;   // where the tokenizer is looked for
    if (peft) {
        own /= adapter_place(inputs.recipe.peft->adapter.name);
        std::filesystem::create_directories(own);
        write_adapter_files(own, inputs, *peft, values);
        export_tokenizer(own, inputs.base.snapshot);
    } else {
        write_whole_model(folder, inputs, model, values);
    }
    save_own_format(own, inputs);
    write_file(folder / "README.md", card(inputs, peft));
}

}   // namespace trainer
