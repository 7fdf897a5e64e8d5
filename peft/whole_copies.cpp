#include "peft/whole_copies.h"

#include <algorithm>

#include "configs/error.h"
#include "hub/adapter.h"

namespace trainer {

namespace {

// "model.layers.0.mlp.up_proj.weight" → {"model", "model.layers", …, "model.layers.0.mlp.up_proj"}
std::vector<std::string> modules_above(const std::string& parameter) {
    std::vector<std::string> modules;
    for (std::size_t dot = parameter.find('.'); dot != std::string::npos; dot = parameter.find('.', dot + 1))
        modules.push_back(parameter.substr(0, dot));
    return modules;
}

std::string saved_name(const std::string& name) { return std::string(adapter_prefix) + name; }

// PEFT asks for the end of a path, wherever in a word it begins.
bool is_below(const std::string& parameter, const std::string& entry) {
    const std::vector<std::string> modules = modules_above(parameter);
    return !entry.empty() &&
           std::any_of(modules.begin(), modules.end(), [&](const auto& module) { return module.ends_with(entry); });
}

}   // namespace

Parameter& WholeCopies::replace(Declarations& model, Parameter& original, const std::string& name, bool trainable) {
    check(!original.replacement, "{} has two replacements", original.name);
    Parameter& copy = model.parameters.declare(name, original.shape);
    copy.trainable = trainable;
    copy.decay = original.decay;
    copy.in_base = false;
    original.replacement = &copy;
    return copy;
}

void WholeCopies::add(Declarations& model, Parameter& original, const std::string& name) {
    const auto owner = std::find_if(model.linears.begin(), model.linears.end(),
                                    [&](const Linear* linear) { return linear->weight == &original; });
    const auto embedding = std::find_if(model.embeddings.begin(), model.embeddings.end(),
                                        [&](const Embedding* one) { return one->name + ".weight" == original.name; });
    const bool adapted =
        (owner != model.linears.end() && (!(*owner)->adapters.empty() || (*owner)->replaced_rows)) ||
        (embedding != model.embeddings.end() && (!(*embedding)->adapters.empty() || (*embedding)->replaced_rows));
    require(!original.replacement && !adapted, Exit::bad_recipe,
            "peft.modules_to_save: another adapter {} {}; only one of them can", adapted ? "adapts" : "replaces",
            original.name);
    copies_.push_back(&replace(model, original, name, true));
    originals_.push_back(&original);
    linears_.push_back(owner == model.linears.end() ? nullptr : *owner);
}

void WholeCopies::save_modules(Declarations& model, const std::vector<std::string>& entries) {
    std::vector<Parameter*> base;
    std::vector<std::string> known;
    for (const auto& parameter : model.parameters.all()) {
        if (!parameter->in_base) continue;
        base.push_back(parameter.get());
        const std::string module = modules_above(parameter->name).back();
        known.push_back(module.substr(module.rfind('.') + 1));
    }
    std::sort(known.begin(), known.end());
    known.erase(std::unique(known.begin(), known.end()), known.end());
    for (const std::string& entry : entries) {
        const bool found =
            std::any_of(base.begin(), base.end(), [&](const Parameter* one) { return is_below(one->name, entry); });
        if (entry == head_name) refuse_missing_head(known, "peft.modules_to_save");
        require(found, Exit::bad_recipe, "peft.modules_to_save: \"{}\" is no module of the model; {}it has {}", entry,
                did_you_mean(entry, known), join(known));
    }
    for (Parameter* parameter : base)
        if (std::any_of(entries.begin(), entries.end(),
                        [&](const auto& one) { return is_below(parameter->name, one); }))
            add(model, *parameter, saved_name(parameter->name));
}

void WholeCopies::train_biases(Declarations& model, TrainedBias which, const Selection& adapted) {
    bool any = false;
    for (Linear* linear : model.linears) {
        const bool is_adapted =
            std::find(adapted.linears.begin(), adapted.linears.end(), linear) != adapted.linears.end();
        if (!linear->bias || linear->bias->replacement || (which == TrainedBias::lora_only && !is_adapted)) continue;
        add(model, *linear->bias, saved_name(linear->name + (is_adapted ? ".base_layer.bias" : ".bias")));
        any = true;
    }
    require(any, Exit::bad_recipe, "peft.bias: {} has a bias; leave the key out",
            which == TrainedBias::all ? "no layer of the model" : "none of the adapted layers");
}

void WholeCopies::attach(Declarations& model, const AdapterOptions& options, const Selection& adapted) {
    for (const std::string& entry : options.modules_to_save) {
        const auto refuse_adapted = [&](const std::string& module) {
            require(
                !is_below(module + ".weight", entry), Exit::bad_recipe,
                "peft.modules_to_save: \"{}\" also ends the path of {}, which is adapted; name one module, or leave "
                "it out of targets",
                entry, module);
        };
        for (const Linear* linear : adapted.linears) refuse_adapted(linear->name);
        for (const Embedding* embedding : adapted.embeddings) refuse_adapted(embedding->name);
    }
    if (!options.modules_to_save.empty()) save_modules(model, options.modules_to_save);
    if (options.bias != TrainedBias::none) train_biases(model, options.bias, adapted);
}

void WholeCopies::initialise() {
    for (std::size_t i = 0; i < copies_.size(); ++i) {
        copy(linears_[i] ? linears_[i]->rows->dense(DType::f32) : originals_[i]->value, copies_[i]->value);
        copies_[i]->changed();
    }
}

}   // namespace trainer
