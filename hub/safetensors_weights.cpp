#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <utility>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/quantised.h"
#include "hub/weight_source.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

constexpr const char* single_name = "model.safetensors";
constexpr const char* index_name = "model.safetensors.index.json";

bool is_ignorable(std::string_view name) {
    constexpr std::array<std::string_view, 6> endings = {
        ".rotary_emb.inv_freq", ".position_ids",          ".attn.bias",
        ".attn.masked_bias",    ".attention.masked_bias", ".attention.bias"};
    return std::any_of(endings.begin(), endings.end(), [name](std::string_view end) { return name.ends_with(end); });
}

// A shard name in an index is a file beside it.
void check_shard_name(const std::string& index, const std::string& shard) {
    require(!shard.empty() && fs::path(shard).filename() == shard && shard != "." && shard != ".." &&
                shard.ends_with(".safetensors"),
            Exit::bad_data, "{}: shard \"{}\" is not the name of a safetensors file beside the index", index, shard);
}

struct Index {
    std::map<std::string, std::string> shard_of;   // tensor → file name
    std::vector<std::string> shards;               // each once, sorted
};

Index read_index(const fs::path& path) {
    const std::string name = path.string();
    const Node document = read_json(path);
    const Node* map = document.find("weight_map");
    require(map && map->is_map() && map->size() > 0, Exit::bad_data,
            "{}: expected a key \"weight_map\" with a map of tensor names to files", name);
    Index index;
    for (const auto& entry : map->as_map()) {
        require(entry.value.is_string(), Exit::bad_data, "{}: weight_map: {}: expected a file name, found {}", name,
                entry.key, entry.value.describe());
        check_shard_name(name, entry.value.as_string());
        index.shard_of[entry.key] = entry.value.as_string();
        index.shards.push_back(entry.value.as_string());
    }
    std::sort(index.shards.begin(), index.shards.end());
    index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
    return index;
}

// The base prefix of names in a model with a head. Repositories of a bare base model leave it out.
std::string base_prefix(const Node& config) {
    const Node* type = config.find("model_type");
    const std::string name = type && type->is_string() ? type->as_string() : "";
    if (name == "gpt2") return "transformer.";
    for (const char* own : {"gpt_neox", "bert", "roberta", "distilbert", "vit"})
        if (name == own) return name + ".";
    return "model.";
}

bool is_head(std::string_view name) {
    constexpr std::array<std::string_view, 10> heads = {
        "lm_head.",        "embed_out.",  "score.",           "classifier.",      "cls.",
        "pre_classifier.", "qa_outputs.", "vocab_projector.", "vocab_transform.", "vocab_layer_norm."};
    return std::any_of(heads.begin(), heads.end(), [name](std::string_view head) { return name.starts_with(head); });
}

class SafetensorsWeights final : public WeightSource {
public:
    SafetensorsWeights(const fs::path& folder, const Node& config) : folder_(folder) {
        if (fs::exists(folder / single_name)) {
            files_.push_back(std::make_unique<SafetensorsFile>(folder / single_name));
        } else {
            open_shards(read_index(folder / index_name));
        }
        for (const auto& file : files_)
            for (const FileTensor& tensor : file->tensors()) {
                if (is_ignorable(tensor.name)) continue;
                const bool fresh = tensors_.emplace(tensor.name, Place{file.get(), &tensor}).second;
                require(fresh, Exit::bad_data, "{}: tensor {} is in two shards", folder.string(), tensor.name);
            }
        add_prefix(base_prefix(config));
        collect_names();
    }

    const std::vector<std::string>& names() const override { return names_; }
    bool contains(const std::string& name) const override { return tensors_.contains(name); }
    FileShape shape(const std::string& name) const override { return at(name).tensor->shape; }
    std::string stored_type(const std::string& name) const override {
        return std::string(name_of(at(name).tensor->dtype));
    }
    void read(const std::string& name, DType target, void* destination) const override {
        const Place& place = at(name);
        place.file->read(*place.tensor, target, destination);
    }

    std::span<const std::byte> bytes(const std::string& name) const override {
        const Place& place = at(name);
        return place.file->bytes(*place.tensor);
    }
    std::shared_ptr<PackedMatrix> packed(const std::string&, DType) const override { return nullptr; }
    bool read_packed(const std::string&, PackedMatrix&) const override { return false; }

    // A tied pair: only the embedding remains. False when both are there and differ, so that they are no pair.
    bool tie(const std::string& head, const std::string& embedding) {
        const auto stored_head = tensors_.find(head);
        if (stored_head == tensors_.end()) return true;
        const auto stored_embedding = tensors_.find(embedding);
        if (stored_embedding == tensors_.end()) {
            tensors_.emplace(embedding, stored_head->second);
        } else if (!equal(stored_head->second, stored_embedding->second)) {
            return false;
        }
        tensors_.erase(head);
        collect_names();
        return true;
    }

private:
    struct Place {
        const SafetensorsFile* file;
        const FileTensor* tensor;
    };

    const Place& at(const std::string& name) const {
        const auto found = tensors_.find(name);
        require(found != tensors_.end(), Exit::bad_data, "{}: tensor {} is missing", folder_.string(), name);
        return found->second;
    }

    static bool equal(const Place& a, const Place& b) {
        const auto left = a.file->bytes(*a.tensor);
        const auto right = b.file->bytes(*b.tensor);
        return a.tensor->dtype == b.tensor->dtype && a.tensor->shape == b.tensor->shape &&
               std::equal(left.begin(), left.end(), right.begin(), right.end());
    }

    void open_shards(const Index& index) {
        std::map<std::string, const SafetensorsFile*> by_name;
        for (const std::string& shard : index.shards) {
            require(fs::exists(folder_ / shard), Exit::no_input, "{}: the index names shard {}, which is missing",
                    (folder_ / index_name).string(), shard);
            files_.push_back(std::make_unique<SafetensorsFile>(folder_ / shard));
            by_name[shard] = files_.back().get();
        }
        for (const auto& [tensor, shard] : index.shard_of)
            require(by_name[shard]->find(tensor) != nullptr, Exit::bad_data,
                    "{}: tensor {} is not in shard {}, where the index says it is", (folder_ / index_name).string(),
                    tensor, shard);
    }

    void add_prefix(const std::string& prefix) {
        for (const auto& [name, place] : tensors_)
            if (name.starts_with(prefix)) return;
        std::map<std::string, Place> renamed;
        for (const auto& [name, place] : tensors_) renamed.emplace(is_head(name) ? name : prefix + name, place);
        tensors_ = std::move(renamed);
    }

    void collect_names() {
        names_.clear();
        for (const auto& [name, place] : tensors_) names_.push_back(name);
    }

    fs::path folder_;
    std::vector<std::unique_ptr<SafetensorsFile>> files_;
    std::map<std::string, Place> tensors_;
    std::vector<std::string> names_;
};

}   // namespace

std::vector<fs::path> weight_files(const fs::path& folder) {
    if (fs::exists(folder / single_name)) return {folder / single_name};
    const fs::path index = folder / index_name;
    if (!fs::exists(index)) {
        for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
            require(!fs::exists(folder / pickle), Exit::refused,
                    "{}: only pickled weights ({}), which can run code when loaded; convert them to safetensors first",
                    folder.string(), pickle);
        fail(Exit::no_input, "{}: no {} and no {}", folder.string(), single_name, index_name);
    }
    std::vector<fs::path> files = {index};
    for (const std::string& shard : read_index(index).shards) files.push_back(folder / shard);
    return files;
}

std::unique_ptr<WeightSource> open_safetensors_weights(const fs::path& folder, Node& config,
                                                       std::vector<std::string>& notes) {
    weight_files(folder);   // its errors are the clearer ones
    auto source = std::make_unique<SafetensorsWeights>(folder, config);
    const Node* tied = config.find("tie_word_embeddings");
    if (tied && tied->is_bool() && tied->as_bool() && !source->tie("lm_head.weight", "model.embed_tokens.weight")) {
        config.set("tie_word_embeddings", false);
        notes.push_back(
            format("{}: config.json ties the embeddings, but lm_head.weight differs from "
                   "model.embed_tokens.weight; they are taken as two weights",
                   folder.string()));
    }
    return open_quantised_weights(std::move(source), config, folder.string());
}

}   // namespace trainer
