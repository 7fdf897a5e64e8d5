#include "peft/targets.h"

#include <algorithm>
#include <regex>
#include <set>

#include "configs/error.h"

namespace trainer {

namespace {

const std::string all_linear = "all-linear";
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
         entry == all_linear ? "did you mean all-linear without brackets? " : did_you_mean(last_part(entry), names),
         join(names));
}

bool is_suffix_of_any(const std::vector<Linear*>& linears, const std::string& entry) {
    return std::any_of(linears.begin(), linears.end(),
                       [&](const Linear* linear) { return has_suffix(linear->name, entry); });
}

// The list that was perhaps meant by "q_proj", "q_porj", "q_proj, v_proj" or "(q_proj|v_proj)"; "" when none can be.
std::string meant_list(const std::vector<Linear*>& linears, const std::string& pattern) {
    constexpr std::string_view between = " ,|()[]";
    std::vector<std::string> names;
    for (std::size_t at = 0; (at = pattern.find_first_not_of(between, at)) != std::string::npos;) {
        const std::size_t end = std::min(pattern.size(), pattern.find_first_of(between, at));
        std::string name = pattern.substr(at, end - at);
        if (!is_suffix_of_any(linears, name)) name = nearest(name, last_parts(linears));
        if (name.empty()) return "";
        names.push_back(std::move(name));
        at = end;
    }
    return names.empty() ? "" : "[" + join(names) + "]";
}

[[noreturn]] void no_match_of_pattern(const std::vector<Linear*>& linears, const std::string& pattern) {
    const std::string meant = nearest(pattern, {all_linear}).empty() ? meant_list(linears, pattern) : all_linear;
    fail(
        Exit::bad_recipe,
        "peft.targets: the regular expression \"{}\" matches no linear layer of the model as a whole, such as {}; {}it "
        "has {}",
        pattern, linears.front()->name, meant.empty() ? "" : "did you mean " + meant + "? ", join(last_parts(linears)));
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
    if (selected.empty()) no_match_of_pattern(linears, pattern);
    return selected;
}

}   // namespace

std::vector<Linear*> select_targets(const std::vector<Linear*>& linears, const TargetOption& targets) {
    std::vector<Linear*> selected;
    if (targets.names.empty()) {
        if (targets.pattern != all_linear) return matching(linears, targets.pattern);
        for (Linear* linear : linears)
            if (linear->name != output_layer) selected.push_back(linear);
        return selected;
    }
    for (const std::string& entry : targets.names)
        if (!is_suffix_of_any(linears, entry)) no_match(linears, entry);
    for (Linear* linear : linears)
        if (std::any_of(targets.names.begin(), targets.names.end(),
                        [&](const std::string& entry) { return has_suffix(linear->name, entry); }))
            selected.push_back(linear);
    return selected;
}

std::vector<std::string> target_suffixes(const std::vector<Linear*>& selected) { return last_parts(selected); }

}   // namespace trainer
