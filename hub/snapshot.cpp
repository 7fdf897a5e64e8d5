#include "hub/snapshot.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "configs/error.h"
#include "configs/file.h"
#include "configs/json.h"
#include "hub/gguf_config.h"
#include "hub/gguf_tokenizer.h"

namespace trainer {

namespace {

namespace fs = std::filesystem;

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> candidates) {
    return std::find(candidates.begin(), candidates.end(), text) != candidates.end();
}

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

// "~" and "~/…" of the environment variables that name folders.
fs::path expanded(const std::string& text) {
    if (text == "~") return variable("HOME");
    if (text.starts_with("~/")) return fs::path(variable("HOME")) / text.substr(2);
    return text;
}

std::string model_type(const Node& config) {
    const Node* type = config.find("model_type");
    return type && type->is_string() ? type->as_string() : "";
}

// rope_parameters (v5) → rope_theta and rope_scaling (v4). A dictionary per layer type stays as it is.
void normalise_rope(Node& config) {
    const Node* parameters = config.find("rope_parameters");
    const Node* scaling = config.find("rope_scaling");
    if (scaling && scaling->is_map() && scaling->contains("rope_theta") && !config.contains("rope_theta"))
        config.set("rope_theta", Node(scaling->at("rope_theta")));
    if (parameters && parameters->is_map() && !parameters->contains("full_attention")) {
        Node copy = *parameters;
        if (const Node* theta = copy.find("rope_theta"); theta && !config.contains("rope_theta"))
            config.set("rope_theta", Node(*theta));
        const Node* current = config.find("rope_scaling");
        if (!current || current->is_null()) {
            copy.erase("rope_theta");
            const Node* type = copy.find("rope_type");
            const bool plain = !type || (type->is_string() && type->as_string() == "default");
            config.set("rope_scaling", plain ? Node() : std::move(copy));
        }
    }
    if (!config.contains("rope_theta") && is_one_of(model_type(config), {"llama", "mistral", "qwen2", "qwen3"}))
        config.set("rope_theta", 10000.0);
    if (Node* final_scaling = config.find("rope_scaling"); final_scaling && final_scaling->is_map()) {
        if (const Node* type = final_scaling->find("type"); type && !final_scaling->contains("rope_type"))
            final_scaling->set("rope_type", Node(*type));
    }
}

// chat_template.jinja wins over the key of tokenizer_config.json; that may be one text or a list of named ones.
void resolve_template(Snapshot& snapshot) {
    const fs::path file = snapshot.folder / "chat_template.jinja";
    if (fs::exists(file)) {
        snapshot.tokenizer_config.set("chat_template", read_text_file(file));
        snapshot.files.push_back(file);
        return;
    }
    const Node* value = snapshot.tokenizer_config.find("chat_template");
    if (!value || value->is_string()) return;
    if (value->is_list()) {
        for (const Node& entry : value->as_list())
            if (entry.at("name").as_string() == "default") {
                snapshot.tokenizer_config.set("chat_template", Node(entry.at("template").as_string()));
                return;
            }
    } else {
        require(value->is_null(), Exit::bad_data, "{}: chat_template: expected a string or a list, found {}",
                (snapshot.folder / "tokenizer_config.json").string(), value->describe());
    }
    snapshot.tokenizer_config.erase("chat_template");
}

// A JSON document of the folder that is a map; null when the file is absent.
Node read_document(Snapshot& snapshot, const char* name) {
    const fs::path path = snapshot.folder / name;
    if (!fs::exists(path)) return {};
    Node document = read_json(path);
    require(document.is_map(), Exit::bad_data, "{}: expected a map, found {}", path.string(), document.describe());
    snapshot.files.push_back(path);
    return document;
}

// The older place of the special tokens. It wins over a tokenizer_config.json of its own age (one that does not list
// the added tokens), as in transformers.
void read_special_tokens_map(Snapshot& snapshot) {
    const Node map = read_document(snapshot, "special_tokens_map.json");
    if (!map.is_map()) return;
    const bool wins = !snapshot.tokenizer_config.contains("added_tokens_decoder");
    for (const auto& entry : map.as_map())
        if (wins || !snapshot.tokenizer_config.contains(entry.key))
            snapshot.tokenizer_config.set(entry.key, Node(entry.value));
}

void read_folder(Snapshot& snapshot) {
    require(fs::exists(snapshot.folder / "config.json"), Exit::no_input,
            "{}: has no config.json; is it a model folder?", snapshot.folder.string());
    snapshot.config = read_document(snapshot, "config.json");
    normalise_config(snapshot.config);
    snapshot.generation_config = read_document(snapshot, "generation_config.json");
    snapshot.tokenizer = read_document(snapshot, "tokenizer.json");
    snapshot.tokenizer_config = read_document(snapshot, "tokenizer_config.json");
    if (snapshot.tokenizer_config.is_null()) snapshot.tokenizer_config = Node::map();
    read_special_tokens_map(snapshot);
    resolve_template(snapshot);
    for (const fs::path& path : weight_files(snapshot.folder)) snapshot.files.push_back(path);
    snapshot.weights = open_safetensors_weights(snapshot.folder, snapshot.config, snapshot.notes);
}

void read_gguf(Snapshot& snapshot, const fs::path& path) {
    snapshot.gguf = std::make_shared<const GgufFile>(path);
    snapshot.config = gguf_config(*snapshot.gguf).with_mark({std::make_shared<const std::string>(path.string()), 0, 0});
    snapshot.generation_config = gguf_generation_config(*snapshot.gguf);
    snapshot.tokenizer = gguf_tokenizer(*snapshot.gguf);
    snapshot.tokenizer_config = gguf_tokenizer_config(*snapshot.gguf);
    snapshot.files.push_back(path);
    snapshot.weights = open_gguf_weights(snapshot.gguf);
}

bool is_commit(const std::string& text) {
    return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The snapshot folder of a cached repository: revision → refs/ → snapshots/.
void find_cached(Snapshot& snapshot, const std::string& revision) {
    std::string folder_name = "models--" + snapshot.base;
    if (const std::size_t slash = folder_name.find('/'); slash != std::string::npos)
        folder_name.replace(slash, 1, "--");
    const fs::path cache = hub_cache();
    const fs::path repository = cache / folder_name;
    const std::string wanted = revision.empty() ? "main" : revision;
    require(fs::is_directory(repository), Exit::unavailable,
            "model {} is neither a file or folder here nor in the hub cache {}; give the path of a model folder or a "
            ".gguf file, or fill the cache on a machine with network (huggingface-cli download {})",
            snapshot.base, cache.string(), snapshot.base);
    require(wanted.find("..") == std::string::npos && !wanted.starts_with('/'), Exit::bad_data,
            "model {}: \"{}\" is not a revision", snapshot.base, wanted);
    std::string commit = wanted;
    if (const fs::path reference = repository / "refs" / wanted; fs::is_regular_file(reference)) {
        commit = read_text_file(reference, 4096);
        commit.erase(std::find_if(commit.begin(), commit.end(), [](char c) { return c == '\n' || c == '\r'; }),
                     commit.end());
        require(is_commit(commit), Exit::bad_data, "{}: expected a commit of 40 hexadecimal digits",
                reference.string());
    }
    snapshot.folder = repository / "snapshots" / commit;
    snapshot.revision = commit;
    require(is_commit(commit) && fs::is_directory(snapshot.folder), Exit::unavailable,
            "model {}: revision \"{}\" is not in the hub cache {}; fill the cache on a machine with network "
            "(huggingface-cli download {} --revision {})",
            snapshot.base, wanted, repository.string(), snapshot.base, wanted);
    require(fs::exists(snapshot.folder / "config.json"), Exit::unavailable,
            "model {}: the cached snapshot {} is not complete: config.json is missing; download it again",
            snapshot.base, snapshot.folder.string());
}

}   // namespace

void normalise_config(Node& config) {
    const Node* dtype = config.find("dtype");
    const Node* torch_dtype = config.find("torch_dtype");
    if (dtype && !dtype->is_null()) {
        config.set("torch_dtype", Node(*dtype));
    } else if (torch_dtype && !torch_dtype->is_null()) {
        config.set("dtype", Node(*torch_dtype));
    }
    normalise_rope(config);
    if (const Node* tied = config.find("tie_word_embeddings"); !tied || tied->is_null())
        config.set("tie_word_embeddings",
                   is_one_of(model_type(config), {"gemma", "gemma2", "gemma3", "gemma3_text", "smollm3", "gpt2", "bert",
                                                  "roberta", "distilbert", "modernbert"}));
}

fs::path hub_cache() {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
        if (const std::string value = variable(name); !value.empty()) return expanded(value);
    if (const std::string home = variable("HF_HOME"); !home.empty()) return expanded(home) / "hub";
    const std::string cache = variable("XDG_CACHE_HOME");
    return (cache.empty() ? fs::path(variable("HOME")) / ".cache" : expanded(cache)) / "huggingface" / "hub";
}

bool is_repository_id(std::string_view base) {
    const std::size_t slash = base.find('/');
    const auto is_part = [](std::string_view part) {
        if (part.empty() || part.size() > 96 || part.find("..") != std::string_view::npos ||
            part.find("--") != std::string_view::npos)
            return false;
        if (part.front() == '-' || part.front() == '.' || part.back() == '-' || part.back() == '.') return false;
        return std::all_of(part.begin(), part.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
                   c == '.';
        });
    };
    if (base.ends_with(".gguf") || base.ends_with(".git")) return false;
    if (slash == std::string_view::npos) return is_part(base);
    return is_part(base.substr(0, slash)) && is_part(base.substr(slash + 1));
}

Snapshot open_snapshot(const std::string& base, const std::string& revision) {
    Snapshot snapshot;
    snapshot.base = base;
    const fs::path path = expanded(base);
    if (fs::is_directory(path)) {
        snapshot.folder = path;
        read_folder(snapshot);
    } else if (fs::exists(path) || base.ends_with(".gguf")) {
        require(base.ends_with(".gguf"), Exit::bad_data,
                "{}: is a file but no .gguf; expected a model folder, a .gguf file or a repository id", base);
        read_gguf(snapshot, path);
    } else {
        require(is_repository_id(base), Exit::no_input, "{}: no such model folder or .gguf file", base);
        snapshot.is_hub_id = true;
        find_cached(snapshot, revision);
        read_folder(snapshot);
    }
    std::sort(snapshot.files.begin(), snapshot.files.end());
    return snapshot;
}

}   // namespace trainer
