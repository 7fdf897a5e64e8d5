#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hub/safetensors.h"

namespace trainer {

// PEFT LoRA adapter folders: adapter_config.json, adapter_model.safetensors, README.md.

// Keys of adapter_config.json as PEFT 0.17 knows them; defaults are PEFT's.
struct AdapterConfig {
    std::string base_model;                // base_model_name_or_path; "" is null
    std::string revision;                  // "" is null
    std::string task_type = "CAUSAL_LM";   // "" is null
    std::int64_t rank = 8;
    double alpha = 8;
    double dropout = 0;
    std::vector<std::string> targets;   // suffixes; exactly one of targets and target_regex is set
    std::string target_regex;
    std::vector<std::string> exclude;   // suffixes
    std::string exclude_regex;
    std::vector<std::string> modules_to_save;
    std::vector<std::pair<std::string, std::int64_t>> rank_pattern;   // regex → rank
    std::vector<std::pair<std::string, double>> alpha_pattern;
    std::vector<std::int64_t> layers_to_transform;   // empty: all
    std::vector<std::string> layers_pattern;
    bool use_rslora = false;
    bool fan_in_fan_out = false;
};

// One adapted module, e.g. "model.layers.0.self_attn.q_proj": A is (rank, in), B is (out, rank).
struct AdapterModule {
    std::string name;
    std::int64_t rank = 0;
    std::int64_t in = 0;
    std::int64_t out = 0;
};

// For writing: row-major f32, owned by the caller.
struct AdapterModuleToWrite {
    AdapterModule module;
    const float* a = nullptr;
    const float* b = nullptr;
};

// Writes adapter_config.json and adapter_model.safetensors into an existing folder.
void write_adapter(const std::filesystem::path& folder, const AdapterConfig& config,
                   const std::vector<AdapterModuleToWrite>& modules);

// The text of adapter_config.json.
std::string adapter_config_text(const AdapterConfig& config);

// An adapter folder, checked as a whole when opened: every module has an A and a B, shapes agree with each other and
// with the rank of the config (patterns are the caller's to apply: `modules` has the ranks found).
// Errors: no_input when a file is missing, refused when the weights are pickled, bad_data for everything else.
class AdapterFile {
public:
    explicit AdapterFile(const std::filesystem::path& folder);

    const AdapterConfig& config() const { return config_; }
    const std::vector<AdapterModule>& modules() const { return modules_; }   // sorted by name
    // Names of parameters saved whole, e.g. "lm_head.weight" of modules_to_save.
    const std::vector<std::string>& parameters() const { return parameters_; }
    const std::vector<std::string>& notes() const { return notes_; }   // unknown keys, for the log

    // a: rank × in, b: out × rank elements.
    void read(const AdapterModule& module, float* a, float* b) const;

private:
    AdapterConfig config_;
    std::unique_ptr<SafetensorsFile> file_;
    std::vector<AdapterModule> modules_;
    std::vector<std::string> parameters_;
    std::vector<std::string> notes_;
};

}   // namespace trainer
