#include "peft/adapter_config.h"

#include <algorithm>
#include <regex>
#include <string_view>

#include "configs/error.h"

namespace trainer {

namespace {

void set_modules(const TargetOption& option, std::vector<std::string>& names, std::string& regex) {
    names = option.names;
    regex = option.names.empty() ? option.pattern : "";
}

TrainedBias bias_of(const std::string& name) {
    return name == "all" ? TrainedBias::all : name == "lora_only" ? TrainedBias::lora_only : TrainedBias::none;
}

// Keys of a recipe that adapter_config.json calls otherwise.
constexpr std::pair<std::string_view, std::string_view> file_keys[] = {
    {"targets", "target_modules"}, {"exclude", "exclude_modules"}, {"rank", "r"},
    {"alpha", "lora_alpha"},       {"dropout", "lora_dropout"},    {"init", "init_lora_weights"},
    {"rslora", "use_rslora"},      {"dora", "use_dora"},           {"feedforward", "feedforward_modules"}};

// What `targets` alone selected.
Selection without_parameters(const AdapterOptions& options, Selection selected) {
    std::erase_if(selected.linears, [&](const Linear* linear) {
        return std::any_of(options.target_parameters.begin(), options.target_parameters.end(),
                           [&](const std::string& entry) { return is_path_end(linear->weight->name, entry); });
    });
    return selected;
}

template <typename Number>
void drop_idle(PatternMap<Number>& patterns, const std::vector<std::string>& modules, std::vector<std::string>& idle) {
    PatternMap<Number> kept;
    for (const auto& entry : patterns.entries)
        if (std::any_of(modules.begin(), modules.end(),
                        [&](const std::string& module) { return is_pattern_match(entry.first, module); }))
            kept.entries.push_back(entry);
        else
            idle.push_back(entry.first);
    patterns = std::move(kept);
}

}   // namespace

std::vector<std::string> drop_idle_patterns(AdapterOptions& options, const std::vector<std::string>& modules) {
    std::vector<std::string> idle;
    drop_idle(options.rank_pattern, modules, idle);
    drop_idle(options.alpha_pattern, modules, idle);
    return idle;
}

void with_options_of(const std::string& folder, const std::function<void()>& run) {
    try {
        run();
    } catch (const std::regex_error& error) {
        fail(Exit::bad_data, "{}/adapter_config.json: rank_pattern or alpha_pattern is no regular expression: {}",
             folder, error.what());
    } catch (const Error& error) {
        const std::string_view text = error.what();
        constexpr std::string_view section = "peft.";
        if (error.code() != Exit::bad_recipe || !text.starts_with(section)) throw;
        const std::size_t end = text.find(':');
        std::string_view key = text.substr(section.size(), end - section.size());
        for (const auto& [ours, theirs] : file_keys)
            if (key == ours) key = theirs;
        fail(Exit::bad_data, "{}/adapter_config.json: {}{}", folder, key, text.substr(end));
    }
}

AdapterConfig adapter_config(const AdapterOptions& options, const Selection& selected) {
    AdapterConfig config;
    config.rank = options.rank;
    config.alpha = options.alpha;
    config.dropout = options.dropout;
    if (options.targets.names.empty() && options.targets.pattern == TargetOption().pattern)
        config.targets = target_suffixes(without_parameters(options, selected));
    else
        set_modules(options.targets, config.targets, config.target_regex);
    if (options.exclude) set_modules(*options.exclude, config.exclude, config.exclude_regex);
    config.target_parameters = options.target_parameters;
    config.modules_to_save = options.modules_to_save;
    config.rank_pattern = options.rank_pattern.entries;
    config.alpha_pattern = options.alpha_pattern.entries;
    config.layers_to_transform = options.layers_to_transform;
    config.layers_pattern = options.layers_pattern;
    config.bias = enum_name(options.bias);
    config.use_rslora = options.rslora;
    config.use_dora = options.dora;
    config.decompose_both = options.decompose_both;
    config.decompose_factor = options.decompose_factor;
    config.oft_block_size = options.oft_block_size;
    config.token_indices = options.trainable_token_indices.ids;
    config.token_indices_by_module = options.trainable_token_indices.by_module;
    return config;
}

AdapterOptions adapter_options(const AdapterConfig& config) {
    AdapterOptions options;
    options.targets = {config.targets, config.target_regex};
    if (!config.exclude.empty() || !config.exclude_regex.empty())
        options.exclude = {config.exclude, config.exclude_regex};
    options.modules_to_save = config.modules_to_save;
    if (config.type == AdapterType::ia3) {
        options.feedforward = config.feedforward;
        return options;
    }
    options.target_parameters = config.target_parameters;
    if (config.type != AdapterType::oft) options.rank = config.rank;
    if (config.type != AdapterType::vera && config.type != AdapterType::oft) options.alpha = config.alpha;
    options.dropout = config.dropout;
    options.rank_pattern.entries = config.rank_pattern;
    options.alpha_pattern.entries = config.alpha_pattern;
    options.layers_to_transform = config.layers_to_transform;
    options.layers_pattern = config.layers_pattern;
    options.bias = bias_of(config.bias);
    options.rslora = config.use_rslora;
    options.dora = config.use_dora;
    options.d_initial = config.d_initial;
    options.decompose_both = config.decompose_both;
    options.decompose_factor = config.decompose_factor;
    options.oft_block_size = config.oft_block_size;
    options.trainable_token_indices = {config.token_indices, config.token_indices_by_module};
    return options;
}

// As PEFT calls them, in small letters.
std::string adapter_method(const AdapterConfig& config) {
    std::string name(adapter_type_name(config.type));
    for (char& c : name)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return name;
}

}   // namespace trainer
