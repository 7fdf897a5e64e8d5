#include "hub/card.h"

#include <algorithm>

#include "configs/json.h"

namespace trainer {

namespace {

// A YAML string: plain where that is safe, else in double quotes (JSON strings are YAML).
std::string yaml_text(const std::string& text) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
               c == '.' || c == '/' || c == ':';
    };
    const bool starts_with_letter = !text.empty() && ((text[0] | 0x20) >= 'a' && (text[0] | 0x20) <= 'z');
    const bool is_word = std::all_of(text.begin(), text.end(), plain) && !text.empty() && text.back() != ':';
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
    const bool has_meaning = lower == "no" || lower == "yes" || lower == "on" || lower == "off" || lower == "true" ||
                             lower == "false" || lower == "null" || lower == "y" || lower == "n";
    if (starts_with_letter && is_word && !has_meaning) return text;
    return to_json(Node(text));
}

void add_key(std::string& out, const char* key, const std::string& value) {
    if (!value.empty()) out += std::string(key) + ": " + yaml_text(value) + "\n";
}

void add_list(std::string& out, const char* key, const std::vector<std::string>& values) {
    if (values.empty()) return;
    out += std::string(key) + ":\n";
    for (const std::string& value : values) out += "- " + yaml_text(value) + "\n";
}

void add_section(std::string& out, const char* heading, const std::vector<std::pair<std::string, std::string>>& entries,
                 const char* separator) {
    if (entries.empty()) return;
    out += std::string("\n### ") + heading + "\n\n";
    for (const auto& [name, value] : entries) out += "- " + name + separator + value + "\n";
}

}   // namespace

std::string card_text(const ModelCard& card) {
    std::vector<std::string> tags = card.tags;
    if (card.adapter) {
        if (!card.base_model.empty()) tags.push_back("base_model:adapter:" + card.base_model);
        tags.push_back(card.method);
        tags.push_back("transformers");
    }
    std::sort(tags.begin(), tags.end());
    tags.erase(std::unique(tags.begin(), tags.end()), tags.end());

    std::string out = "---\n";
    add_key(out, "base_model", card.base_model);
    add_list(out, "datasets", card.datasets);
    add_key(out, "library_name", card.adapter ? "peft" : "transformers");
    add_key(out, "license", card.license);
    add_key(out, "license_name", card.license_name);
    add_key(out, "license_link", card.license_link);
    add_key(out, "pipeline_tag", card.pipeline_tag);
    add_list(out, "tags", tags);
    out += "---\n\n# " + card.title + "\n";
    if (!card.description.empty()) out += "\n" + card.description + "\n";
    add_section(out, "Results on the evaluation set", card.results, ": ");
    add_section(out, "Training hyperparameters", card.hyperparameters, ": ");
    add_section(out, "Framework versions", card.versions, " ");
    return out;
}

}   // namespace trainer
