#include "hub/export.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <set>
#include <utility>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"
#include "hub/convert.h"
#include "hub/output_file.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr JsonStyle config_style = {.indent = 2, .ensure_ascii = true, .sort_keys = true};

// Everything that makes up a tokenizer in a repository, of whatever family.
constexpr std::array<const char*, 10> tokenizer_files = {"tokenizer.json",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "added_tokens.json",
                                                         "chat_template.jinja",
                                                         "chat_template.json",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "tokenizer.model",
                                                         "vocab.txt"};

std::string_view config_dtype(FileDType dtype) {
    switch (dtype) {
        case FileDType::f32:
            return "float32";
        case FileDType::f16:
            return "float16";
        case FileDType::bf16:
            return "bfloat16";
        default:
            fail(Exit::internal, "export: {} is not a dtype of models", name_of(dtype));
    }
}

bool is_floating(FileDType dtype) {
    return dtype == FileDType::f32 || dtype == FileDType::f16 || dtype == FileDType::bf16 || dtype == FileDType::f64;
}

// Greedy, in order: a tensor that does not fit begins a new shard; one larger than the limit has a shard of its own
// and does not close the current one.
std::vector<std::vector<TensorToWrite>> split(const std::vector<TensorToWrite>& tensors, std::uint64_t limit) {
    std::vector<std::vector<TensorToWrite>> shards;
    std::vector<TensorToWrite> current;
    std::uint64_t size = 0;
    for (const TensorToWrite& tensor : tensors) {
        const std::uint64_t bytes = tensor.byte_count();
        if (bytes > limit) {
            shards.push_back({tensor});
            continue;
        }
        if (size + bytes > limit) {
            shards.push_back(std::exchange(current, {}));
            size = 0;
        }
        current.push_back(tensor);
        size += bytes;
    }
    if (!current.empty()) shards.push_back(std::move(current));
    return shards;
}

std::string shard_name(std::size_t number, std::size_t count) {
    std::array<char, 64> name;
    std::snprintf(name.data(), name.size(), "model-%05zu-of-%05zu.safetensors", number, count);
    return name.data();
}

bool is_weight_file(const std::string& name) {
    return name == "model.safetensors" || name == "model.safetensors.index.json" ||
           (name.starts_with("model-") && name.ends_with(".safetensors") && name.find("-of-") != std::string::npos);
}

void write_weights(const fs::path& folder, const std::vector<TensorToWrite>& tensors, std::uint64_t limit) {
    const auto shards = split(tensors, limit);
    std::set<std::string> written;
    if (shards.size() <= 1) {
        written.insert("model.safetensors");
        write_safetensors(folder / "model.safetensors", tensors);
    } else {
        Node::Map weight_map;
        std::uint64_t total_size = 0;
        std::int64_t total_parameters = 0;
        for (std::size_t i = 0; i < shards.size(); ++i) {
            const std::string name = shard_name(i + 1, shards.size());
            for (const TensorToWrite& tensor : shards[i]) {
                weight_map.push_back({tensor.name, Node(name), {}});
                total_size += tensor.byte_count();
                total_parameters += element_count(tensor.shape);
            }
            write_safetensors(folder / name, shards[i]);
            written.insert(name);
        }
        Node index;
        Node metadata;
        metadata.set("total_parameters", total_parameters);
        metadata.set("total_size", static_cast<std::int64_t>(total_size));
        index.set("metadata", std::move(metadata));
        index.set("weight_map", Node(std::move(weight_map)));
        write_file(folder / "model.safetensors.index.json", to_json(index, config_style) + "\n");
        written.insert("model.safetensors.index.json");
    }
    std::vector<fs::path> stale;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (is_weight_file(name) && !written.contains(name)) stale.push_back(entry.path());
    }
    for (const fs::path& path : stale) fs::remove(path);
}

// The eos_token_id of a config with `id` among those that were there; `id` alone when there were none.
Node with_end(const Node* present, std::int64_t id) {
    if (!present) return id;
    Node::List ids{Node(id)};
    for (const Node& other : present->is_list() ? present->as_list() : Node::List{*present}) {
        if (other == ids.front()) return *present;
        ids.push_back(other);
    }
    return ids;
}

void write_generation_config(const fs::path& folder, const Snapshot& base, std::optional<std::int64_t> eos_token_id) {
    if (base.generation_config.is_null()) return;
    Node config = base.generation_config;
    if (eos_token_id) config.set("eos_token_id", with_end(config.find_value("eos_token_id"), *eos_token_id));
    const auto differs = [&config](const char* key, double plain) {
        const Node* node = config.find(key);
        return node && node->is_number() && node->as_number() != plain;
    };
    const Node* sample = config.find("do_sample");
    // Sampling keys without do_sample load, but transformers refuses to save them again.
    if ((differs("temperature", 1) || differs("top_p", 1)) && !(sample && sample->is_bool() && sample->as_bool()))
        config.set("do_sample", true);
    write_file(folder / "generation_config.json", to_json(config, config_style) + "\n");
}

constexpr std::int64_t piece = 1 << 16;   // elements converted at a time

}   // namespace

TensorToWrite tensor_from_f32(std::string name, FileShape shape, const float* values, FileDType dtype) {
    TensorToWrite tensor{std::move(name), dtype, std::move(shape), {}, {}};
    const std::int64_t count = element_count(tensor.shape);
    tensor.produce = [values, count, dtype](const ByteSink& sink) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(std::min(count, piece) * bits_of(dtype) / 8));
        for (std::int64_t begin = 0; begin < count; begin += piece) {
            const std::int64_t size = std::min(piece, count - begin);
            convert_to_file(values + begin, size, dtype, bytes.data());
            sink(std::span(bytes).first(static_cast<std::size_t>(size * bits_of(dtype) / 8)));
        }
    };
    return tensor;
}

void export_model(const fs::path& folder, const Snapshot& base, const std::vector<TensorToWrite>& tensors,
                  const ExportOptions& options) {
    for (const TensorToWrite& tensor : tensors)
        check(!is_floating(tensor.dtype) || tensor.dtype == options.dtype || !options.quantization_config.is_null(),
              "export: tensor {} is {}, expected {}", tensor.name, name_of(tensor.dtype), name_of(options.dtype));
    Node config = base.config;
    config.set("dtype", config_dtype(options.dtype));
    config.set("torch_dtype", config_dtype(options.dtype));
    config.erase("quantization_config");   // of the base
    if (!options.quantization_config.is_null()) config.set("quantization_config", Node(options.quantization_config));
    config.erase("transformers_weights");
    if (options.eos_token_id) {
        const Node* present = config.find("eos_token_id");
        const bool several = present && present->is_list();
        config.set("eos_token_id", with_end(several ? present : nullptr, *options.eos_token_id));
    }
    write_weights(folder, tensors, options.max_shard_bytes);
    write_generation_config(folder, base, options.eos_token_id);
    export_tokenizer(folder, base);
    write_file(folder / "config.json", to_json(config, config_style) + "\n");
}

std::map<std::string, std::string> tokenizer_texts(const Snapshot& base) {
    if (base.gguf) {
        std::map<std::string, std::string> texts;
        Node config = base.tokenizer_config;
        if (const Node* text = config.find("chat_template")) {
            texts["chat_template.jinja"] = text->as_string();
            config.erase("chat_template");
        }
        texts["tokenizer.json"] = to_json(base.tokenizer, {.indent = 2});
        texts["tokenizer_config.json"] = to_json(config, {.indent = 2, .sort_keys = true}) + "\n";
        return texts;
    }
    return tokenizer_texts(base.folder);
}

std::map<std::string, std::string> tokenizer_texts(const fs::path& folder) {
    std::map<std::string, std::string> texts;
    for (const char* name : tokenizer_files)
        if (const fs::path path = folder / name; fs::is_regular_file(path)) texts[name] = read_text_file(path);
    return texts;
}

void export_tokenizer(const fs::path& folder, const Snapshot& base) {
    for (const auto& [name, text] : tokenizer_texts(base)) write_file(folder / name, text);
}

}   // namespace trainer
