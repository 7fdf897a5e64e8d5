#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "hub/safetensors.h"
#include "hub/snapshot.h"

namespace trainer {

struct ExportOptions {
    FileDType dtype = FileDType::bf16;                // F32, BF16 or F16; written into config.json
    std::uint64_t max_shard_bytes = 50'000'000'000;   // decimal, as transformers counts
    Node quantization_config;                         // of weights in fewer bits; null: they are plain
    std::optional<std::int64_t> eos_token_id;         // an end of text other than the base's, for both configs
};

// A full model in hub format into an existing folder: config.json, generation_config.json, the tokenizer files, and
// model.safetensors or numbered shards with their index. `tensors` are in state-dict order, without a tied head; those
// of a floating type must already have options.dtype, unless quantization_config says that there are scales. Weight
// files of an earlier export that are not rewritten are removed. `eos_token_id` replaces that of config.json and joins
// a list there and whatever generation_config.json has, any of which ends a generation (transformers'
// align_special_tokens); a generation_config.json is never made.
void export_model(const std::filesystem::path& folder, const Snapshot& base, const std::vector<TensorToWrite>& tensors,
                  const ExportOptions& options);

// A tensor of f32 values to be written as `dtype` (F32, BF16, F16), converted piece by piece when its turn comes.
// `values` must stay valid until then.
TensorToWrite tensor_from_f32(std::string name, FileShape shape, const float* values, FileDType dtype);

// The tokenizer files of the base by name: byte for byte those of a folder, written from the metadata of a GGUF file.
std::map<std::string, std::string> tokenizer_texts(const Snapshot& base);
// The same of a folder that is not a base, such as an adapter's.
std::map<std::string, std::string> tokenizer_texts(const std::filesystem::path& folder);
// Writes them beside an adapter or model.
void export_tokenizer(const std::filesystem::path& folder, const Snapshot& base);

}   // namespace trainer
