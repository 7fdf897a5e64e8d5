#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "configs/node.h"
#include "hub/gguf.h"
#include "hub/weight_source.h"

namespace trainer {

// A model as it lies on disk, everything but the numbers read.
struct Snapshot {
    std::string base;                       // as the recipe names it
    std::string revision;                   // commit of a cached repository, else ""
    bool is_hub_id = false;                 // `base` names a repository, not a path
    std::filesystem::path folder;           // of a model folder or cached repository; empty for a GGUF file
    std::shared_ptr<const GgufFile> gguf;   // set for a GGUF file

    Node config;              // config.json; v4 and v5 spellings of dtype and rope are both there
    Node generation_config;   // null when absent
    Node tokenizer;           // tokenizer.json; null when absent
    Node tokenizer_config;    // a map; chat_template holds the template in force, absent when there is none
    std::vector<std::filesystem::path> files;   // everything that was read, weights included; for digests
    std::vector<std::string> notes;             // remarks worth a line in the log
    std::shared_ptr<const WeightSource> weights;
};

// `base` is a model folder, a .gguf file, or a repository id found in the local hub cache (HF_HUB_CACHE, HF_HOME);
// `revision` a branch, tag or commit of a cached repository ("" means main). Uses no network.
// Errors: no_input when a path is missing, unavailable when a repository is not in the cache, bad_data when a document
// is malformed, refused when there are only pickled weights.
Snapshot open_snapshot(const std::string& base, const std::string& revision = "");

// Adds to a config.json what readers of the other generation look for: dtype and torch_dtype, rope_theta and
// rope_scaling from rope_parameters (and the reverse is left alone), tie_word_embeddings by the class default.
void normalise_config(Node& config);

// $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub.
std::filesystem::path hub_cache();

// "org/name" or "name" as the hub allows it; a text with another shape can only be a path.
bool is_repository_id(std::string_view base);

}   // namespace trainer
