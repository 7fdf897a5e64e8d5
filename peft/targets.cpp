#include "peft/targets.h"

#include <algorithm>
#include <regex>
#include <set>

#include "configs/error.h"

namespace trainer {

namespace {

const std::string output_layer = "lm_head";   // PEFT's all-linear leaves the output layer out

bool has_suffix(const std::string& path, const std::string& entry) {
    return path == entry || path.ends_with("." + entry);
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

std::vector<std::string> last_parts(const std::vector<Linear*>& linears) {
    std::set<std::string> parts;
    for (const Linear* linear : linears) parts.insert(last_part(linear->name));
    return {parts.begin(), parts.end()};
}

[[noreturn]] void no_match(const std::vector<Linear*>& linears, const std::string& entry) {
    const std::vector<std::string> names = last_parts(linears);
    fail(Exit::bad_recipe, "peft.targets: \"{}\" matches no linear layer of the model; {}it has {}", entry,
         did_you_mean(last_part(entry), names), join(names));
}

std::vector<Linear*> matching(const std::vector<Linear*>& linears, const std::string& pattern) {
    std::regex regex;
    try {
        regex = std::regex(pattern);
    } catch (const std::regex_error& error) {
        fail(Exit::bad_recipe, "peft.targets: \"{}\" is no regular expression: {}", pattern, error.what());
    }
    std::vector<Linear*> selected;
    for (Linear* linear : linears)
        if (std::regex_match(linear->name, regex)) selected.push_back(linear);
    if (selected.empty()) no_match(linears, pattern);
    return selected;
}

}   // namespace

std::vector<Linear*> select_targets(const std::vector<Linear*>& linears, const TargetOption& targets) {
    std::vector<Linear*> selected;
    if (targets.names.empty()) {
        if (targets.pattern != "all-linear") return matching(linears, targets.pattern);
        for (Linear* linear : linears)
            if (linear->name != output_layer) selected.push_back(linear);
        return selected;
    }
    for (const std::string& entry : targets.names)
        if (std::none_of(linears.begin(), linears.end(),
                         [&](const Linear* linear) { return has_suffix(linear->name, entry); }))
            no_match(linears, entry);
    for (Linear* linear : linears)
        if (std::any_of(targets.names.begin(), targets.names.end(),
                        [&](const std::string& entry) { return has_suffix(linear->name, entry); }))
            selected.push_back(linear);
    return selected;
}

std::vector<std::string> target_suffixes(const std::vector<Linear*>& selected) { return last_parts(selected); }

}   // namespace trainer
