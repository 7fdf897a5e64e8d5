#include "peft/targets.h"

#include <algorithm>
#include <regex>
#include <set>

#include "configs/error.h"

namespace trainer {

namespace {

const std::string all_linear = "all-linear";

using Names = std::vector<std::string>;

bool is_end_of_any(const Names& names, const std::string& entry) {
    return std::any_of(names.begin(), names.end(), [&](const auto& name) { return is_path_end(name, entry); });
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

Names last_parts(const Names& names) {
    std::set<std::string> parts;
    for (const std::string& name : names) parts.insert(last_part(name));
    return {parts.begin(), parts.end()};
}

std::regex regex_of(const std::string& pattern, const std::string& key) {
    try {
        return std::regex(pattern);
    } catch (const std::regex_error& error) {
        fail(Exit::bad_recipe, "{}: \"{}\" is no regular expression: {}", key, pattern, error.what());
    }
}

[[noreturn]] void no_match(const Names& names, const std::string& entry, const std::string& key) {
    const Names parts = last_parts(names);
    if (last_part(entry) == head_name) refuse_missing_head(names, key);
    fail(Exit::bad_recipe, "{}: \"{}\" matches no linear layer or embedding of the model; {}it has {}", key, entry,
         entry == all_linear ? "did you mean all-linear without brackets? " : did_you_mean(last_part(entry), parts),
         join(parts));
}

// The list that was perhaps meant by "q_proj", "q_porj", "q_proj, v_proj" or "(q_proj|v_proj)"; "" when none can be.
std::string meant_list(const Names& names, const std::string& pattern) {
    constexpr std::string_view between = " ,|()[]";
    Names meant;
    for (std::size_t at = 0; (at = pattern.find_first_not_of(between, at)) != std::string::npos;) {
        const std::size_t end = std::min(pattern.size(), pattern.find_first_of(between, at));
        std::string name = pattern.substr(at, end - at);
        if (!is_end_of_any(names, name)) name = nearest(name, last_parts(names));
        if (name.empty()) return "";
        meant.push_back(std::move(name));
        at = end;
    }
    return meant.empty() ? "" : "[" + join(meant) + "]";
}

[[noreturn]] void no_match_of_pattern(const Names& names, const std::string& pattern, const std::string& key) {
    const std::string meant = nearest(pattern, {all_linear}).empty() ? meant_list(names, pattern) : all_linear;
    fail(Exit::bad_recipe,
         "{}: the regular expression \"{}\" matches no linear layer or embedding of the model as a whole, such as {}; "
         "{}it has {}",
         key, pattern, names.front(), meant.empty() ? "" : "did you mean " + meant + "? ", join(last_parts(names)));
}

// The index that follows the name of the list of layers: "model.layers.3.mlp" → 3; nothing outside of layers.
std::optional<std::int64_t> layer_of(const std::string& module, const Names& patterns) {
    const Names alternatives = patterns.empty() ? Names{"[^.]*"} : patterns;
    for (const std::string& pattern : alternatives) {
        std::smatch found;
        if (std::regex_search(module, found,
                              regex_of("^(?:|.*?\\.)(?:" + pattern + ")\\.(\\d{1,18})\\.", "peft.layers_pattern"),
                              std::regex_constants::match_continuous))
            return std::stoll(found[found.size() - 1]);   // groups of the pattern come before
    }
    return std::nullopt;
}

// Whether the parts above or at the end of a path name a module that is trained whole.
bool lies_under(const std::string& module, const Names& saved) {
    return std::any_of(saved.begin(), saved.end(), [&](const std::string& name) {
        return ("." + module + ".").find("." + name + ".") != std::string::npos;
    });
}

void check_layers(const Names& names, const AdapterOptions& options) {
    if (!options.layers_pattern.empty() && options.layers_to_transform.empty())
        fail(Exit::bad_recipe, "peft.layers_pattern: has no effect without layers_to_transform");
    if (options.layers_to_transform.empty()) return;
    if (options.targets.names.empty() && options.targets.pattern != all_linear)
        fail(Exit::bad_recipe,
             "peft.layers_to_transform: a regular expression in targets says already which layers; use one of them");
    std::int64_t count = 0;
    for (const std::string& name : names)
        if (const auto layer = layer_of(name, options.layers_pattern)) count = std::max(count, *layer + 1);
    for (const std::int64_t layer : options.layers_to_transform)
        require(
            layer < count, Exit::bad_recipe, "peft.layers_to_transform: there is no layer {}; {}", layer,
            count == 0 ? "no path of the model has such a list of layers" : format("the model has 0 to {}", count - 1));
}

// What other adapters, attached before, do not allow.
void check_free(const Declarations& model, const Selection& selected) {
    const auto check_whole = [&](const std::string& module) {
        require(!model.parameters.find(module + ".weight")->replacement, Exit::bad_recipe,
                "peft.targets: {} is replaced as a whole by another adapter (modules_to_save); leave it out", module);
    };
    for (const Linear* linear : selected.linears) {
        check_whole(linear->name);
        require(!linear->replaced_rows, Exit::bad_recipe,
                "peft.targets: another adapter brings tokens of {}; leave it out", linear->name);
    }
    for (const Embedding* embedding : selected.embeddings) {
        check_whole(embedding->name);
        require(!embedding->replaced_rows, Exit::bad_recipe,
                "peft.targets: another adapter brings tokens of {}; leave it out", embedding->name);
    }
}

// Target parameters alone.
void check_nothing_chosen(const AdapterOptions& options) {
    constexpr const char* complaint = "peft.{}: has no effect without targets, of which it takes some";
    require(!options.exclude, Exit::bad_recipe, complaint, "exclude");
    require(options.layers_to_transform.empty(), Exit::bad_recipe, complaint, "layers_to_transform");
    require(!options.target_parameters.empty(), Exit::bad_recipe, "peft.targets: expected at least one layer");
}

}   // namespace

void refuse_missing_head(const std::vector<std::string>& modules, const std::string& key) {
    require(is_end_of_any(modules, std::string(head_name)), Exit::bad_recipe,
            "{}: the model has no {} of its own: its output layer is the embedding, whose weights are used twice", key,
            head_name);
}

void add_target_parameters(const Declarations& model, const AdapterOptions& options, Selection& selected) {
    constexpr const char* key = "peft.target_parameters";
    std::vector<Linear*> wanted;
    for (const std::string& entry : options.target_parameters) {
        const std::size_t before = wanted.size();
        for (Linear* linear : model.linears) {
            if (!is_path_end(linear->weight->name, entry)) continue;
            require(std::find(selected.linears.begin(), selected.linears.end(), linear) == selected.linears.end(),
                    Exit::bad_recipe, "{}: {} is adapted by targets already; name it in one of them", key,
                    linear->weight->name);
            if (std::find(wanted.begin(), wanted.end(), linear) == wanted.end()) wanted.push_back(linear);
        }
        if (wanted.size() > before) continue;
        Names names;
        for (const Linear* linear : model.linears) names.push_back(last_part(linear->name) + ".weight");
        std::sort(names.begin(), names.end());
        names.erase(std::unique(names.begin(), names.end()), names.end());
        fail(Exit::bad_recipe,
             "{}: \"{}\" is no weight of a linear layer of the model; {}it has {}. Weights that hold the matrices of "
             "several experts are not supported, nor are models that have them",
             key, entry, did_you_mean(entry, names), join(names));
    }
    require(wanted.empty() || (options.dropout == 0 && !options.dora && options.bias != TrainedBias::lora_only),
            Exit::bad_recipe, "{}: dropout, dora and bias lora_only do not go with it, in PEFT neither", key);
    for (Linear* linear : model.linears)   // in the model's order
        if (std::find(wanted.begin(), wanted.end(), linear) != wanted.end()) selected.linears.push_back(linear);
}

void refuse_embeddings(const Selection& selected, std::string_view method) {
    require(selected.embeddings.empty(), Exit::bad_recipe,
            "peft.targets: {} changes linear layers; leave the embedding out", method);
}

void refuse_head(const Selection& selected, const std::string& key) {
    for (const Linear* linear : selected.linears)
        require(linear->name != head_name, Exit::bad_recipe,
                "{}: the output layer is computed piece by piece with the loss, where only low-rank adapters take "
                "part; leave {} out of targets",
                key, head_name);
}

bool is_match(const std::string& name, const TargetOption& targets) {
    if (targets.names.empty())
        return targets.pattern == all_linear ? name != head_name   // as in PEFT
                                             : std::regex_match(name, std::regex(targets.pattern));
    return std::any_of(targets.names.begin(), targets.names.end(),
                       [&](const std::string& entry) { return is_path_end(name, entry); });
}

bool is_chosen(const std::string& name, const AdapterOptions& options) {
    if (options.targets.is_nothing() || !is_match(name, options.targets)) return false;
    if (options.exclude && is_match(name, *options.exclude)) return false;
    if (lies_under(name, options.modules_to_save)) return false;
    const std::vector<std::int64_t>& layers = options.layers_to_transform;
    if (layers.empty()) return true;
    const auto layer = layer_of(name, options.layers_pattern);
    return layer && std::find(layers.begin(), layers.end(), *layer) != layers.end();
}

std::vector<std::string> matching_names(const Names& names, const TargetOption& targets, const std::string& key) {
    for (const std::string& entry : targets.names)
        if (!is_end_of_any(names, entry)) no_match(names, entry, key);
    if (targets.names.empty() && targets.pattern != all_linear) regex_of(targets.pattern, key);
    Names matching;
    for (const std::string& name : names)
        if (is_match(name, targets)) matching.push_back(name);
    if (matching.empty()) no_match_of_pattern(names, targets.pattern, key);
    return matching;
}

Selection select_targets(const Declarations& model, const AdapterOptions& options) {
    Names linears, names;
    for (const Linear* linear : model.linears) linears.push_back(linear->name);
    names = linears;
    if (!(options.targets.names.empty() && options.targets.pattern == all_linear))
        for (const Embedding* embedding : model.embeddings) names.push_back(embedding->name);
    check_layers(linears, options);
    if (options.targets.is_nothing()) {
        check_nothing_chosen(options);
        return {};
    }

    const Names matching = matching_names(names, options.targets, "peft.targets");
    if (options.exclude) matching_names(matching, *options.exclude, "peft.exclude");   // of effect
    const auto chosen = [&](const std::string& name) {
        return std::find(matching.begin(), matching.end(), name) != matching.end() && is_chosen(name, options);
    };
    Selection selected;
    for (Linear* linear : model.linears)
        if (chosen(linear->name)) selected.linears.push_back(linear);
    for (Embedding* embedding : model.embeddings)
        if (chosen(embedding->name)) selected.embeddings.push_back(embedding);
    check_free(model, selected);
    require(!selected.linears.empty() || !selected.embeddings.empty(), Exit::bad_recipe,
            "peft.targets: nothing is left to adapt after exclude, modules_to_save and layers_to_transform");
    return selected;
}

bool is_pattern_match(const std::string& pattern, const std::string& module) {
    return std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"));
}

template <typename Number>
Number by_pattern(const PatternMap<Number>& patterns, const std::string& module, Number otherwise) {
    for (const auto& [pattern, number] : patterns.entries)
        if (is_pattern_match(pattern, module)) return number;
    return otherwise;
}

template <typename Number>
void check_patterns(const PatternMap<Number>& patterns, const std::vector<std::string>& modules,
                    const std::string& key) {
    for (const auto& [pattern, number] : patterns.entries) {
        regex_of(pattern, key);
        require(std::any_of(modules.begin(), modules.end(),
                            [&, &one = pattern](const std::string& module) { return is_pattern_match(one, module); }),
                Exit::bad_recipe,
                "{}: \"{}\" matches none of the adapted layers as a whole or as the end of a path, such as {}; {}they "
                "are {}",
                key, pattern, modules.front(), did_you_mean(last_part(pattern), last_parts(modules)),
                join(last_parts(modules)));
    }
}

template std::int64_t by_pattern(const PatternMap<std::int64_t>&, const std::string&, std::int64_t);
template double by_pattern(const PatternMap<double>&, const std::string&, double);
template void check_patterns(const PatternMap<std::int64_t>&, const Names&, const std::string&);
template void check_patterns(const PatternMap<double>&, const Names&, const std::string&);

void check_patterns(const AdapterOptions& options, const Selection& selected) {
    check_patterns(options.rank_pattern, module_names(selected), "peft.rank_pattern");
    check_patterns(options.alpha_pattern, module_names(selected), "peft.alpha_pattern");
}

std::vector<std::string> module_names(const Selection& selected) {
    Names names;
    for (const Linear* linear : selected.linears) names.push_back(linear->name);
    for (const Embedding* embedding : selected.embeddings) names.push_back(embedding->name);
    return names;
}

std::vector<std::string> target_suffixes(const Selection& selected) { return last_parts(module_names(selected)); }

}   // namespace trainer
