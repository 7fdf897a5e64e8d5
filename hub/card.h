#pragma once

#include <string>
#include <utility>
#include <vector>

namespace trainer {

// What the model card (README.md) of a trained adapter or model says. Empty fields are left out.
struct ModelCard {
    std::string title;
    std::string base_model;   // a repository id; leave empty for a local path
    std::string license;
    std::string license_name;
    std::string license_link;
    bool adapter = true;           // library peft, else transformers
    std::string method = "lora";   // tag of an adapter
    std::string pipeline_tag = "text-generation";
    std::vector<std::string> tags;                              // further tags
    std::vector<std::string> datasets;                          // dataset repository ids
    std::string description;                                    // first paragraph
    std::vector<std::pair<std::string, std::string>> results;   // "Loss" → "1.2345", on the evaluation set
    std::vector<std::pair<std::string, std::string>> hyperparameters;
    std::vector<std::pair<std::string, std::string>> versions;   // "trainer" → "0.1.0"
};

// README.md: YAML front matter as the hub's tools write it, then Markdown.
std::string card_text(const ModelCard& card);

}   // namespace trainer
