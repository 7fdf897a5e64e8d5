#include "hub/adapter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
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
constexpr const char* base_layout = "base_weights_layout";   // metadata
constexpr const char* base_values = "base_weights_values";
// How the tensors of one module end, after its name. A is what IA3 has alone.
struct Parts {
    std::string_view a;
    std::string_view b;
    bool embedding;
};
constexpr Parts low_rank = {".lora_A.weight", ".lora_B.weight", false};
constexpr Parts low_rank_embedding = {".lora_embedding_A", ".lora_embedding_B", true};
constexpr std::string_view ia3_vector = ".ia3_l";
constexpr std::array<std::string_view, 4> hadamard = {".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b"};
// Either the first of three or the other two: a matrix, or its factors.
constexpr std::array<std::string_view, 6> kronecker = {".lokr_w1", ".lokr_w1_a", ".lokr_w1_b",
                                                       ".lokr_w2", ".lokr_w2_a", ".lokr_w2_b"};
constexpr std::string_view oft_rotations = ".oft_R.weight";
constexpr std::array<std::string_view, 2> vera = {".vera_lambda_b", ".vera_lambda_d"};

std::span<const std::byte> f32_bytes(const float* values, std::int64_t count) {
    return std::as_bytes(std::span(values, static_cast<std::size_t>(count)));
}

// An adapter with a name lies in a folder of that name.
std::string hint_of_place(const fs::path& folder) {
    std::error_code ignored;
    std::set<std::string> inside;
    for (const auto& entry : fs::directory_iterator(folder, ignored))
        if (fs::exists(entry.path() / config_name, ignored) &&
            !entry.path().filename().string().starts_with("checkpoint-"))
            inside.insert(entry.path().string());
    return inside.empty() ? "is it an adapter folder?" : format("did you mean {}?", *inside.begin());
}

AdapterConfig read_config(const fs::path& path, std::vector<std::string>& notes) {
    require(fs::exists(path), Exit::no_input, "{}: no such file; {}", path.string(), hint_of_place(path.parent_path()));
    return parse_adapter_config(read_json(path), path.string(), notes);
}

// Tensors of methods that are not read here: what they change would be left out silently.
bool is_unknown_part(std::string_view name) {
    constexpr std::array<std::string_view, 4> parts = {".lora_B.bias", ".lora_E", ".lora_ranknum", ".base_layer.lora_"};
    return std::any_of(parts.begin(), parts.end(),
                       [name](std::string_view part) { return name.find(part) != std::string_view::npos; });
}

struct Pair {
    const FileTensor* a = nullptr;
    const FileTensor* b = nullptr;
};

// The module of a pair after its shapes are checked; A of an embedding is [rank, vocabulary], B [size, rank].
AdapterModule low_rank_module(const std::string& where, const std::string& name, const Pair& pair, const Parts& parts) {
    require(pair.a && pair.b, Exit::bad_data, "{}: module {} has no {}", where, name,
            (pair.a ? parts.b : parts.a).substr(1));
    const FileShape& a = pair.a->shape;
    const FileShape& b = pair.b->shape;
    require(a.size() == 2 && b.size() == 2 && a[0] == b[1] && a[0] > 0, Exit::bad_data,
            "{}: module {}: {} has shape {} and {} {}, expected [rank, in] and [out, rank]", where, name,
            parts.embedding ? "lora_embedding_A" : "lora_A", shape_text(a),
            parts.embedding ? "lora_embedding_B" : "lora_B", shape_text(b));
    return {name, a[0], a[1], b[0], parts.embedding};
}

// The tensors of one module, in the order of their ends; null where there is none.
template <std::size_t count>
using Tensors = std::array<const FileTensor*, count>;

void require_all(const std::string& where, const std::string& name, std::span<const FileTensor* const> parts,
                 std::span<const std::string_view> ends) {
    for (std::size_t i = 0; i < parts.size(); ++i)
        require(parts[i] != nullptr, Exit::bad_data, "{}: module {} has no {}", where, name, ends[i].substr(1));
}

AdapterModule hadamard_module(const std::string& where, const std::string& name, const Tensors<4>& parts) {
    require_all(where, name, parts, hadamard);
    const FileShape& a = parts[0]->shape;
    const FileShape& b = parts[1]->shape;
    require(a.size() == 2 && b.size() == 2 && a[1] == b[0] && b[0] > 0 && parts[2]->shape == a && parts[3]->shape == b,
            Exit::bad_data,
            "{}: module {}: hada_w1 is {} and {}, hada_w2 {} and {}, expected [out, rank] and [rank, in]", where, name,
            shape_text(a), shape_text(b), shape_text(parts[2]->shape), shape_text(parts[3]->shape));
    return {name, a[1], b[1], a[0]};
}

// Of two dimensions that hold something: what a file of its size can have.
bool is_matrix(const FileShape& shape) { return shape.size() == 2 && shape[0] > 0 && shape[1] > 0; }

// Of one of both matrices: [rows, columns], and its rank when it has factors.
struct Factored {
    std::int64_t rows, columns, rank;
};

Factored factored(const std::string& where, const std::string& name, std::span<const FileTensor* const> parts,
                  std::span<const std::string_view> ends) {
    if (!parts[0]) require_all(where, name, parts.subspan(1), ends.subspan(1));
    require(!parts[0] || (!parts[1] && !parts[2]), Exit::bad_data, "{}: module {} has both {} and its factors", where,
            name, ends[0].substr(1));
    for (const FileTensor* part : parts)
        require(!part || is_matrix(part->shape), Exit::bad_data, "{}: {} has shape {}, expected two dimensions above 0",
                where, part ? part->name : "", part ? shape_text(part->shape) : "");
    if (parts[0]) return {parts[0]->shape[0], parts[0]->shape[1], 0};
    const FileShape& a = parts[1]->shape;
    const FileShape& b = parts[2]->shape;
    require(a[1] == b[0] && b[0] > 0, Exit::bad_data,
            "{}: module {}: {} is {}, {} is {}, expected [rows, rank] and "
            "[rank, columns]",
            where, name, ends[1].substr(1), shape_text(a), ends[2].substr(1), shape_text(b));
    return {a[0], b[1], b[0]};
}

AdapterModule kronecker_module(const std::string& where, const std::string& name, const Tensors<6>& parts,
                               std::int64_t config_rank) {
    const std::span all(parts);
    const std::span<const std::string_view> ends(kronecker);
    const Factored first = factored(where, name, all.first(3), ends.first(3));
    const Factored second = factored(where, name, all.last(3), ends.last(3));
    const std::int64_t rank = second.rank > 0 ? second.rank : first.rank > 0 ? first.rank : config_rank;
    return {name, rank, first.columns * second.columns, first.rows * second.rows};
}

AdapterModule vera_module(const std::string& where, const std::string& name, const Tensors<2>& parts) {
    require_all(where, name, parts, vera);
    for (const FileTensor* part : parts)
        require(part->shape.size() == 1, Exit::bad_data, "{}: {} has shape {}, expected one dimension", where,
                part->name, shape_text(part->shape));
    return {name, parts[1]->shape[0], 0, parts[0]->shape[0]};
}

// [blocks, b (b − 1) / 2]
AdapterModule oft_module(const std::string& where, const std::string& name, const FileShape& shape) {
    const bool positive = is_matrix(shape);
    const double numbers = positive ? static_cast<double>(shape[1]) : 0;
    const std::int64_t block = std::llround((1 + std::sqrt(1 + 8 * numbers)) / 2);
    require(positive && block * (block - 1) / 2 == shape[1], Exit::bad_data,
            "{}: module {}: oft_R has shape {}, expected [blocks, b (b - 1) / 2]", where, name, shape_text(shape));
    return {name, block, shape[0] * block, 0};
}

}   // namespace

void write_adapter(const fs::path& folder, const AdapterConfig& config, const std::vector<AdapterTensor>& tensors,
                   const std::optional<WeightsDigest>& base) {
    std::vector<TensorToWrite> to_write;
    for (const AdapterTensor& tensor : tensors)
        to_write.push_back(
            {tensor.name,
             FileDType::f32,
             tensor.shape,
             f32_bytes(tensor.made.empty() ? tensor.values : tensor.made.data(), element_count(tensor.shape)),
             {}});
    FileMetadata metadata = {{"format", "pt"}};
    if (base) metadata.insert({{base_layout, base->layout}, {base_values, base->values}});
    write_safetensors(folder / weights_name, to_write, metadata);
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
    find_modules(weights.string());
}

void AdapterFile::find_modules(const std::string& where) {
    std::map<std::string, Pair> pairs;
    std::map<std::string, Pair> embeddings;
    std::map<std::string, Tensors<4>> hadamards;
    std::map<std::string, Tensors<6>> kroneckers;
    std::map<std::string, Tensors<2>> veras;
    for (const FileTensor& tensor : file_->tensors()) {
        std::string_view name = tensor.name;
        const bool shared = name == vera_a || name == vera_b;
        require(shared || name.starts_with(adapter_prefix), Exit::bad_data,
                "{}: tensor {}: expected a name that begins with {}", where, tensor.name, adapter_prefix);
        if (!shared) name.remove_prefix(adapter_prefix.size());
        require(tensor.dtype == FileDType::f32 || tensor.dtype == FileDType::bf16 || tensor.dtype == FileDType::f16,
                Exit::bad_data, "{}: tensor {} has dtype {}, expected F32, BF16 or F16", where, tensor.name,
                name_of(tensor.dtype));
        require(!is_unknown_part(name), Exit::bad_data, "{}: tensor {} is of a kind of adapter that is not supported",
                where, tensor.name);
        const auto stem = [&](std::string_view end) { return std::string(name.substr(0, name.size() - end.size())); };
        for (auto* found : {&pairs, &embeddings}) {
            const Parts& parts = found == &pairs ? low_rank : low_rank_embedding;
            if (name.ends_with(parts.a)) (*found)[stem(parts.a)].a = &tensor;
            if (name.ends_with(parts.b)) (*found)[stem(parts.b)].b = &tensor;
        }
        const auto collect = [&](const auto& ends, auto& found) {
            for (std::size_t i = 0; i < ends.size(); ++i)
                if (name.ends_with(ends[i])) found[stem(ends[i])][i] = &tensor;
        };
        collect(hadamard, hadamards);
        collect(kronecker, kroneckers);
        collect(vera, veras);
        if (name.ends_with(ia3_vector)) {
            require(tensor.shape.size() == 2 && (tensor.shape[0] == 1 || tensor.shape[1] == 1), Exit::bad_data,
                    "{}: tensor {} has shape {}, expected [out, 1] or [1, in]", where, tensor.name,
                    shape_text(tensor.shape));
            modules_.push_back({stem(ia3_vector), 0, tensor.shape[1], tensor.shape[0]});
        }
    }
    std::vector<AdapterModule> turned;
    for (const FileTensor& tensor : file_->tensors())
        if (tensor.name.ends_with(oft_rotations))
            turned.push_back(
                oft_module(where,
                           tensor.name.substr(adapter_prefix.size(),
                                              tensor.name.size() - adapter_prefix.size() - oft_rotations.size()),
                           tensor.shape));
    const auto expect_type = [&](AdapterType type, const std::string& name) {
        require(config_.type == type, Exit::bad_data, "{}: module {} is not of the type that {} says", where, name,
                config_name);
    };
    for (const AdapterModule& module : modules_) expect_type(AdapterType::ia3, module.name);
    for (const AdapterModule& module : turned) {
        modules_.push_back(module);
        expect_type(AdapterType::oft, module.name);
    }
    for (const auto& [name, pair] : pairs) {
        modules_.push_back(low_rank_module(where, name, pair, low_rank));
        expect_type(AdapterType::lora, name);
    }
    for (const auto& [name, pair] : embeddings) {
        modules_.push_back(low_rank_module(where, name, pair, low_rank_embedding));
        expect_type(AdapterType::lora, name);
    }
    for (const auto& [name, parts] : hadamards) {
        modules_.push_back(hadamard_module(where, name, parts));
        expect_type(AdapterType::loha, name);
    }
    for (const auto& [name, parts] : kroneckers) {
        modules_.push_back(kronecker_module(where, name, parts, config_.rank));
        expect_type(AdapterType::lokr, name);
    }
    for (const auto& [name, parts] : veras) {
        modules_.push_back(vera_module(where, name, parts));
        expect_type(AdapterType::vera, name);
    }
    require(
        config_.type != AdapterType::vera || (find(std::string(vera_a)) && find(std::string(vera_b))), Exit::bad_data,
        "{}: there is no {} and {}: the adapter was saved without its random matrices (save_projection), which only "
        "PEFT's generator makes again; save it with them",
        where, vera_a, vera_b);
    require(!modules_.empty(), Exit::bad_data, "{}: holds no {} tensors", where, adapter_type_name(config_.type));
    std::sort(modules_.begin(), modules_.end(),
              [](const AdapterModule& a, const AdapterModule& b) { return a.name < b.name; });
    for (const AdapterModule& module : modules_)
        require(module.rank == config_.rank || !config_.rank_pattern.empty() || module.rank == 0 ||
                    config_.type == AdapterType::oft,
                Exit::bad_data, "{}: module {} has rank {}, {} says {}", where, module.name, module.rank, config_name,
                config_.rank);
}

const FileTensor* AdapterFile::find(const std::string& name) const {
    const auto& all = file_->tensors();
    const auto found = std::find_if(all.begin(), all.end(), [&](const FileTensor& one) { return one.name == name; });
    return found == all.end() ? nullptr : &*found;
}

std::optional<WeightsDigest> AdapterFile::base() const {
    const FileMetadata& metadata = file_->metadata();
    const auto layout = metadata.find(base_layout), values = metadata.find(base_values);
    if (layout == metadata.end() || values == metadata.end()) return std::nullopt;
    return WeightsDigest{layout->second, values->second};
}

void AdapterFile::read(const std::string& name, float* values) const {
    const FileTensor& tensor = file_->at(name);
    file_->read(tensor, DType::f32, values);
    const float* const end = values + element_count(tensor.shape);
    const float* const found =
        std::find_if_not(static_cast<const float*>(values), end, [](float v) { return std::isfinite(v); });
    require(
        found == end, Exit::diverged,
        "{}: tensor {} holds {} (element {}); such an adapter cannot be used. Its file is damaged, or it diverged when "
        "it was trained",
        file_->path().string(), name, *found, found - values);
}

}   // namespace trainer
