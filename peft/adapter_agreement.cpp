#include "peft/adapter_agreement.h"

#include <algorithm>
#include <regex>

#include "configs/error.h"
#include "models/embedding.h"
#include "models/linear.h"
#include "peft/adapter_config.h"
#include "peft/targets.h"

namespace trainer {

namespace {

using Names = std::vector<std::string>;

const char* const all_linear = "all-linear";

class Choice {
public:
    explicit Choice(const AdapterConfig& config) : options_(adapter_options(config)) {}

    bool contains(const std::string& module) const {
        return is_chosen(module, options_) ||
               std::any_of(options_.target_parameters.begin(), options_.target_parameters.end(),
                           [&](const std::string& entry) { return is_path_end(module + ".weight", entry); });
    }
    // Of embeddings all-linear says nothing.
    bool contains_embedding(const std::string& module) const {
        const bool linear_only = options_.targets.names.empty() && options_.targets.pattern == all_linear;
        return !linear_only && contains(module);
    }

private:
    AdapterOptions options_;
};

// "model.layers.0.mlp.up_proj, model.layers.0.mlp.down_proj and 26 more"
std::string some_of(const Names& names) {
    constexpr std::size_t shown = 3;
    if (names.size() <= shown) return join(names);
    return format("{} and {} more", join(Names(names.begin(), names.begin() + shown)), names.size() - shown);
}

std::string text_of(const AdapterConfig& config) {
    const std::string targets =
        config.target_regex.empty() ? "[" + join(config.targets) + "]" : "\"" + config.target_regex + "\"";
    std::string text = "target_modules " + targets;
    if (!config.exclude.empty() || !config.exclude_regex.empty()) text += ", exclude_modules";
    if (!config.layers_to_transform.empty()) text += ", layers_to_transform";
    if (!config.target_parameters.empty()) text += ", target_parameters";
    return text;
}

// What `find` collects with the configuration's choice; nothing where its patterns cannot be read.
template <typename Find>
Names judged(const AdapterFile& file, const std::string& folder, const Find& find) {
    Names names;
    with_options_of(folder, [&] {
        try {
            find(Choice(file.config()), names);
        } catch (const std::regex_error&) {   // lookbehind, flags
            names.clear();
        }
    });
    return names;
}

}   // namespace

void check_modules_are_chosen(const AdapterFile& file, const std::string& folder) {
    const Names others = judged(file, folder, [&](const Choice& choice, Names& names) {
        for (const AdapterModule& module : file.modules())
            if (!(module.embedding ? choice.contains_embedding(module.name) : choice.contains(module.name)))
                names.push_back(module.name);
    });
    require(others.empty(), Exit::bad_data,
            "{}: adapter_model.safetensors has tensors of {}, which adapter_config.json does not choose ({}); the two "
            "files are not of one adapter, or one was changed",
            folder, some_of(others), text_of(file.config()));
}

void check_chosen_are_there(const AdapterFile& file, const std::string& folder, const Declarations& model) {
    const Names missing = judged(file, folder, [&](const Choice& choice, Names& names) {
        const auto need = [&](const std::string& name) {
            const auto& all = file.modules();
            if (std::none_of(all.begin(), all.end(), [&](const AdapterModule& one) { return one.name == name; }))
                names.push_back(name);
        };
        for (const Linear* linear : model.linears)
            if (choice.contains(linear->name)) need(linear->name);
        for (const Embedding* embedding : model.embeddings)
            if (choice.contains_embedding(embedding->name)) need(embedding->name);
    });
    require(missing.empty(), Exit::bad_data,
            "{}: adapter_model.safetensors has no tensors of {}, which adapter_config.json chooses ({}); the two files "
            "are not of one adapter, one was changed, or it belongs to another base ({})",
            folder, some_of(missing), text_of(file.config()), file.config().base_model);
}

}   // namespace trainer
