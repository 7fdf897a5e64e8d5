#include "hub/adapter.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/adapter_config.h"
#include "hub/output_file.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr const char* config_name = "adapter_config.json";
constexpr const char* weights_name = "adapter_model.safetensors";
constexpr std::string_view prefix = "base_model.model.";
constexpr std::string_view suffix_a = ".lora_A.weight";
constexpr std::string_view suffix_b = ".lora_B.weight";

std::span<const std::byte> f32_bytes(const float* values, std::int64_t count) {
    return std::as_bytes(std::span(values, static_cast<std::size_t>(count)));
}

AdapterConfig read_config(const fs::path& path, std::vector<std::string>& notes) {
    require(fs::exists(path), Exit::no_input, "{}: no such file; is it an adapter folder?", path.string());
    return parse_adapter_config(read_json(path), path.string(), notes);
}

bool is_lora_part(std::string_view name) {
    constexpr std::array<std::string_view, 5> parts = {".lora_embedding_", ".lora_magnitude_vector", ".lora_B.bias",
                                                       ".base_layer.", ".trainable_tokens_delta"};
    return std::any_of(parts.begin(), parts.end(),
                       [name](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

}   // namespace

void write_adapter(const fs::path& folder, const AdapterConfig& config,
                   const std::vector<AdapterModuleToWrite>& modules) {
    std::vector<TensorToWrite> tensors;
    const auto add = [&tensors](std::string name, FileShape shape, const float* values) {
        const std::int64_t count = element_count(shape);
        tensors.push_back({std::string(prefix) + name, FileDType::f32, std::move(shape), f32_bytes(values, count), {}});
    };
    for (const AdapterModuleToWrite& entry : modules) {
        const AdapterModule& module = entry.module;
        add(module.name + std::string(suffix_a), {module.rank, module.in}, entry.a);
        add(module.name + std::string(suffix_b), {module.out, module.rank}, entry.b);
    }
    write_safetensors(folder / weights_name, tensors);
    write_file(folder / config_name, adapter_config_text(config));
}

AdapterFile::AdapterFile(const fs::path& folder) {
    require(fs::exists(folder), Exit::no_input, "{}: no such adapter folder", folder.string());
    config_ = read_config(folder / config_name, notes_);
    const fs::path weights = folder / weights_name;
    if (!fs::exists(weights))
        require(!fs::exists(folder / "adapter_model.bin"), Exit::refused,
                "{}: only pickled weights (adapter_model.bin), which can run code when loaded; save the adapter as "
                "safetensors first",
                folder.string());
    file_ = std::make_unique<SafetensorsFile>(weights);
    const std::string where = weights.string();

    struct Pair {
        const FileTensor* a = nullptr;
        const FileTensor* b = nullptr;
    };
    std::map<std::string, Pair> pairs;
    for (const FileTensor& tensor : file_->tensors()) {
        std::string_view name = tensor.name;
        require(name.starts_with(prefix), Exit::bad_data, "{}: tensor {}: expected a name that begins with {}", where,
                tensor.name, prefix);
        name.remove_prefix(prefix.size());
        require(tensor.dtype == FileDType::f32 || tensor.dtype == FileDType::bf16 || tensor.dtype == FileDType::f16,
                Exit::bad_data, "{}: tensor {} has dtype {}, expected F32, BF16 or F16", where, tensor.name,
                name_of(tensor.dtype));
        require(!is_lora_part(name), Exit::bad_data, "{}: tensor {} is of a kind of LoRA that is not supported", where,
                tensor.name);
        if (name.ends_with(suffix_a)) {
            pairs[std::string(name.substr(0, name.size() - suffix_a.size()))].a = &tensor;
        } else if (name.ends_with(suffix_b)) {
            pairs[std::string(name.substr(0, name.size() - suffix_b.size()))].b = &tensor;
        } else {
            parameters_.emplace_back(name);
        }
    }
    require(!pairs.empty(), Exit::bad_data, "{}: holds no LoRA tensors", where);
    std::sort(parameters_.begin(), parameters_.end());

    for (const auto& [name, pair] : pairs) {
        require(pair.a && pair.b, Exit::bad_data, "{}: module {} has no {}", where, name,
                (pair.a ? suffix_b : suffix_a).substr(1));
        const FileShape& a = pair.a->shape;
        const FileShape& b = pair.b->shape;
        require(a.size() == 2 && b.size() == 2 && a[0] == b[1] && a[0] > 0, Exit::bad_data,
                "{}: module {}: lora_A has shape {} and lora_B {}, expected [rank, in] and [out, rank]", where, name,
                shape_text(a), shape_text(b));
        require(a[0] == config_.rank || !config_.rank_pattern.empty(), Exit::bad_data,
                "{}: module {} has rank {}, {} says {}", where, name, a[0], config_name, config_.rank);
        modules_.push_back({name, a[0], a[1], b[0]});
    }
}

void AdapterFile::read(const AdapterModule& module, float* a, float* b) const {
    const std::string stem = std::string(prefix) + module.name;
    file_->read(file_->at(stem + std::string(suffix_a)), DType::f32, a);
    file_->read(file_->at(stem + std::string(suffix_b)), DType::f32, b);
}

}   // namespace trainer
