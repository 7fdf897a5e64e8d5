#include "peft/adapter_config.h"

namespace trainer {

namespace {

void set_modules(const TargetOption& option, std::vector<std::string>& names, std::string& regex) {
    names = option.names;
    regex = option.names.empty() ? option.pattern : "";
}

TargetOption option_of(const std::vector<std::string>& names, const std::string& regex) {
    return {names, regex.empty() ? TargetOption().pattern : regex};
}

TrainedBias bias_of(const std::string& name) {
    return name == "all" ? TrainedBias::all : name == "lora_only" ? TrainedBias::lora_only : TrainedBias::none;
}

}   // namespace

AdapterConfig adapter_config(const AdapterOptions& options, const Selection& selected) {
    AdapterConfig config;
    config.rank = options.rank;
    config.alpha = options.alpha;
    config.dropout = options.dropout;
    if (options.targets.names.empty() && options.targets.pattern == TargetOption().pattern)
        config.targets = target_suffixes(selected);
    else
        set_modules(options.targets, config.targets, config.target_regex);
    if (options.exclude) set_modules(*options.exclude, config.exclude, config.exclude_regex);
    config.modules_to_save = options.modules_to_save;
    config.rank_pattern = options.rank_pattern.entries;
    config.alpha_pattern = options.alpha_pattern.entries;
    config.layers_to_transform = options.layers_to_transform;
    config.layers_pattern = options.layers_pattern;
    config.bias = enum_name(options.bias);
    config.use_rslora = options.rslora;
    config.use_dora = options.dora;
    return config;
}

AdapterOptions adapter_options(const AdapterConfig& config) {
    AdapterOptions options;
    options.targets = option_of(config.targets, config.target_regex);
    if (!config.exclude.empty() || !config.exclude_regex.empty())
        options.exclude = option_of(config.exclude, config.exclude_regex);
    options.modules_to_save = config.modules_to_save;
    if (config.type == AdapterType::ia3) {
        options.feedforward = config.feedforward;
        return options;
    }
    options.rank = config.rank;
    options.alpha = config.alpha;
    options.dropout = config.dropout;
    options.rank_pattern.entries = config.rank_pattern;
    options.alpha_pattern.entries = config.alpha_pattern;
    options.layers_to_transform = config.layers_to_transform;
    options.layers_pattern = config.layers_pattern;
    options.bias = bias_of(config.bias);
    options.rslora = config.use_rslora;
    options.dora = config.use_dora;
    return options;
}

std::string adapter_method(const AdapterConfig& config) { return config.type == AdapterType::ia3 ? "ia3" : "lora"; }

}   // namespace trainer
