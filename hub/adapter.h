#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hub/safetensors.h"
#include "hub/weights_digest.h"

namespace trainer {

// PEFT adapter folders: adapter_config.json, adapter_model.safetensors, README.md.

enum class AdapterType { lora, loha, lokr, vera, oft, ia3 };

std::string_view adapter_type_name(AdapterType type);   // PEFT's: LORA, LOHA, …

// Keys of adapter_config.json as PEFT 0.17 knows them; defaults are PEFT's. Those of the other type are without
// meaning.
struct AdapterConfig {
    AdapterType type = AdapterType::lora;
    std::string base_model;                // base_model_name_or_path; "" is null
    std::string revision;                  // "" is null
    std::string task_type = "CAUSAL_LM";   // "" is null
    std::vector<std::string>
        targets;   // suffixes; one of targets, target_regex and target_parameters is set, not both of the first two
    std::string target_regex;
    std::vector<std::string> exclude;   // suffixes
    std::string exclude_regex;
    std::vector<std::string> target_parameters;   // suffixes of parameters' names; two dimensions only
    std::vector<std::string> modules_to_save;
    bool fan_in_fan_out = false;

    std::int64_t rank = 8;
    double alpha = 8;
    double dropout = 0;
    std::vector<std::pair<std::string, std::int64_t>> rank_pattern;   // regex → rank
    std::vector<std::pair<std::string, double>> alpha_pattern;
    std::vector<std::int64_t> layers_to_transform;   // empty: all
    std::vector<std::string> layers_pattern;
    std::string bias = "none";   // none, all, lora_only
    bool use_rslora = false;
    bool use_dora = false;
    std::vector<std::int64_t> token_indices;   // trainable_token_indices: of the input embedding, or by module
    std::vector<std::pair<std::string, std::vector<std::int64_t>>> token_indices_by_module;

    bool decompose_both = false;          // lokr
    std::int64_t decompose_factor = -1;   // lokr
    double d_initial = 0.1;               // vera
    std::int64_t oft_block_size = 32;

    std::vector<std::string> feedforward;   // suffixes; ia3: modules whose input is scaled
    std::string feedforward_regex;
};

// What every name of a tensor in adapter_model.safetensors begins with.
inline constexpr std::string_view adapter_prefix = "base_model.model.";
// But those of the random matrices that all modules of a VeRA share.
inline constexpr std::string_view vera_a = "base_model.vera_A", vera_b = "base_model.vera_B";

// One adapted module, e.g. "model.layers.0.self_attn.q_proj": A is (rank, in), B is (out, rank). An embedding has its
// vocabulary as `in`. For ia3 the rank is 0 and in or out is 1; of a vera `in` is not known and 0; of a lokr without
// factors the rank is that of the config. Of an oft `out` is 0 and the rank its block.
struct AdapterModule {
    std::string name;
    std::int64_t rank = 0;
    std::int64_t in = 0;
    std::int64_t out = 0;
    bool embedding = false;
};

// For writing: f32, row-major, `made` when it is not empty, else `values`, which the caller owns.
struct AdapterTensor {
    std::string name;
    FileShape shape;
    const float* values = nullptr;
    std::vector<float> made;
};

// Writes adapter_config.json and adapter_model.safetensors into an existing folder. What `base` it was made for stands
// in the metadata of the second, which others do not read.
void write_adapter(const std::filesystem::path& folder, const AdapterConfig& config,
                   const std::vector<AdapterTensor>& tensors, const std::optional<WeightsDigest>& base = {});

// The text of adapter_config.json.
std::string adapter_config_text(const AdapterConfig& config);

// An adapter folder, checked as a whole when opened: every low-rank module has an A and a B, shapes agree with each
// other and with the rank of the config (patterns are the caller's to apply: `modules` has the ranks found).
// Errors: no_input when a file is missing, refused when the weights are pickled, bad_data for everything else.
class AdapterFile {
public:
    explicit AdapterFile(const std::filesystem::path& folder);

    const AdapterConfig& config() const { return config_; }
    const std::vector<AdapterModule>& modules() const { return modules_; }   // sorted by name
    // All tensors by their names, those of `modules` and others: magnitudes, biases, modules saved whole.
    const std::vector<FileTensor>& tensors() const { return file_->tensors(); }
    const FileTensor* find(const std::string& name) const;             // null when absent
    const std::vector<std::string>& notes() const { return notes_; }   // unknown keys, for the log
    // The weights that it was made for; nothing where the file does not say (other programs, earlier versions).
    std::optional<WeightsDigest> base() const;

    // As many elements as the tensor of that name has. Error(diverged) when one is not finite.
    void read(const std::string& name, float* values) const;

private:
    void find_modules(const std::string& where);

    AdapterConfig config_;
    std::unique_ptr<SafetensorsFile> file_;
    std::vector<AdapterModule> modules_;
    std::vector<std::string> notes_;
};

}   // namespace trainer
