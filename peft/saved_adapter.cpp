#include "peft/saved_adapter.h"

#include <algorithm>
#include <set>

#include "configs/error.h"
#include "models/embedding.h"
#include "models/linear.h"
#include "peft/adapter_agreement.h"
#include "peft/adapter_config.h"
#include "peft/registry.h"
#include "peft/whole_copies.h"

namespace trainer {

namespace {

// The options with the modules that the file holds, by their whole paths.
AdapterOptions options_of(const AdapterFile& file, const std::string& folder, std::vector<std::string>& notes) {
    AdapterOptions options = adapter_options(file.config());
    options.targets = {};
    options.target_parameters.clear();
    options.exclude.reset();
    options.layers_to_transform.clear();
    options.layers_pattern.clear();
    options.feedforward.clear();
    for (const AdapterModule& module : file.modules()) {
        options.targets.names.push_back(module.name);
        if (module.rank == 0 && module.out == 1) options.feedforward.push_back(module.name);
    }
    with_options_of(folder, [&] {
        for (const std::string& pattern : drop_idle_patterns(options, options.targets.names))
            notes.push_back(
                format("{}: no adapted layer matches the pattern \"{}\"; it has no effect", folder, pattern));
    });
    const auto& tensors = file.tensors();
    if (std::none_of(tensors.begin(), tensors.end(), [](const auto& one) { return one.name.ends_with(".bias"); }))
        options.bias = TrainedBias::none;   // asked for of a model that has none
    return options;
}

template <typename Layer>
const Layer* find(const std::vector<Layer*>& layers, const std::string& name) {
    const auto found =
        std::find_if(layers.begin(), layers.end(), [&](const Layer* layer) { return layer->name == name; });
    return found == layers.end() ? nullptr : *found;
}

}   // namespace

SavedAdapter::SavedAdapter(const std::filesystem::path& folder, const std::string& name)
    : folder_(folder.string()), prefix_(name.empty() ? "" : name + ": "), file_(folder), notes_(file_.notes()) {
    AdapterOptions options = options_of(file_, folder_, notes_);
    if (!name.empty()) options.dropout = 0;
    method_ = peft_methods().at(adapter_method(file_.config())).make(options);
}

void SavedAdapter::check_modules(const Declarations& model) const {
    for (const AdapterModule& module : file_.modules()) {
        const Linear* linear = find(model.linears, module.name);
        const Embedding* embedding = find(model.embeddings, module.name);
        require(module.embedding ? embedding != nullptr : linear != nullptr, Exit::bad_data,
                "{}: adapts {}, which the model does not have; it belongs to another base ({})", folder_, module.name,
                file_.config().base_model);
        const std::int64_t in = module.embedding ? embedding->shape().rows() : linear->in_features;
        const std::int64_t out = module.embedding ? embedding->shape().columns() : linear->out_features;
        const bool fits = module.rank > 0
                              ? (module.in == in || module.in == 0) && (module.out == out || module.out == 0)
                              : (module.in == in && module.out == 1) || (module.out == out && module.in == 1);
        require(fits, Exit::bad_data,
                "{}: {} is {} → {} in the adapter, {} → {} in the model; it belongs to another base ({})", folder_,
                module.name, module.in, module.out, in, out, file_.config().base_model);
    }
}

void SavedAdapter::attach(Declarations& model) {
    check_modules(model);
    check_modules_are_chosen(file_, folder_);
    check_chosen_are_there(file_, folder_, model);
    const ParameterSet::NamesBegin names(model.parameters, prefix_);
    with_options_of(folder_, [&] { method_->attach(model); });
    for (const Parameter* parameter : own()) {
        const FileTensor* tensor = file_.find(saved_name(*parameter));
        require(tensor != nullptr, Exit::bad_data, "{}: there is no tensor {}, which its configuration asks for",
                folder_, saved_name(*parameter));
        require(tensor->shape == parameter->shape.sizes(), Exit::bad_data,
                "{}: tensor {} has shape {}, its configuration and the model ask for {}", folder_, tensor->name,
                shape_text(tensor->shape), shape_text(parameter->shape.sizes()));
    }
    attach_replacements(model);
    if (!prefix_.empty())
        for (Parameter* parameter : method_->parameters()) parameter->trainable = false;
}

std::vector<Parameter*> SavedAdapter::own() const {
    std::vector<Parameter*> all = method_->parameters();
    const std::vector<Parameter*> frozen = method_->frozen();
    all.insert(all.end(), frozen.begin(), frozen.end());
    return all;
}

std::vector<Parameter*> SavedAdapter::frozen() const {
    std::vector<Parameter*> all = method_->frozen();
    all.insert(all.end(), replacements_.begin(), replacements_.end());
    return all;
}

// PEFT writes embeddings and output layer whole when they are adapted or were resized.
void SavedAdapter::attach_replacements(Declarations& model) {
    std::set<std::string> known;
    for (const Parameter* parameter : own()) known.insert(saved_name(*parameter));
    constexpr std::string_view wrapped = ".base_layer.weight";
    for (const FileTensor& tensor : file_.tensors()) {
        if (known.count(tensor.name) > 0) continue;
        std::string name = tensor.name.substr(adapter_prefix.size());
        if (name.ends_with(wrapped)) name = name.substr(0, name.size() - wrapped.size()) + ".weight";
        const bool is_whole =
            name == std::string(head_name) + ".weight" ||
            std::any_of(model.embeddings.begin(), model.embeddings.end(),
                        [&](const Embedding* embedding) { return name == embedding->name + ".weight"; });
        Parameter* original = is_whole ? model.parameters.find(name) : nullptr;
        if (!original && name == std::string(head_name) + ".weight") {
            notes_.push_back(
                format("{}: {} is left out: the model's output layer is its embedding", folder_, tensor.name));
            continue;
        }
        require(original && original->in_base && !original->replacement, Exit::bad_data,
                "{}: tensor {} is explained neither by the adapter's configuration nor by the model", folder_,
                tensor.name);
        require(tensor.shape == original->shape.sizes(), Exit::bad_data,
                "{}: tensor {} has shape {}, the model {}; adapters of a resized vocabulary are not supported", folder_,
                tensor.name, shape_text(tensor.shape), shape_text(original->shape.sizes()));
        replacements_.push_back(&WholeCopies::replace(model, *original, tensor.name, false));
    }
}

std::vector<AdapterTensor> SavedAdapter::tensors(const std::function<const float*(const Parameter&)>& values) const {
    std::vector<AdapterTensor> all = method_->tensors(values);
    for (const Parameter* parameter : replacements_)
        all.push_back({saved_name(*parameter), parameter->shape.sizes(), parameter->value.data<float>(), {}});
    return all;
}

void SavedAdapter::initialise(std::uint64_t) {
    const auto read = [this](Parameter* parameter) {
        parameter->set([&](float* values) { this->read(*parameter, values); });
    };
    for (Parameter* parameter : own()) read(parameter);
    std::for_each(replacements_.begin(), replacements_.end(), read);
}

}   // namespace trainer
