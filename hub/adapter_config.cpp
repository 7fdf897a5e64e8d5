#include "hub/adapter_config.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string_view>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/config_reader.h"

namespace trainer {

namespace {

Node text_or_null(const std::string& text) { return text.empty() ? Node() : Node(text); }

Node list_of(const std::vector<std::string>& texts) {
    Node::List list;
    for (const std::string& text : texts) list.emplace_back(text);
    return Node(std::move(list));
}

Node list_or_null(const std::vector<std::string>& texts) { return texts.empty() ? Node() : list_of(texts); }

// A regex, a sorted list of suffixes, or null.
Node modules(std::vector<std::string> suffixes, const std::string& regex) {
    if (!regex.empty()) return Node(regex);
    std::sort(suffixes.begin(), suffixes.end());
    return list_or_null(suffixes);
}

// 16, not 16.0: some readers take only an integer.
Node whole_or_real(double value) {
    if (value == std::floor(value) && std::abs(value) < 1e15) return Node(static_cast<std::int64_t>(value));
    return Node(value);
}

constexpr std::pair<std::string_view, AdapterType> types[] = {{"LORA", AdapterType::lora}, {"LOHA", AdapterType::loha},
                                                              {"LOKR", AdapterType::lokr}, {"VERA", AdapterType::vera},
                                                              {"OFT", AdapterType::oft},   {"IA3", AdapterType::ia3}};

const AdapterType* type_named(const std::string& name) {
    for (const auto& [own, type] : types)
        if (own == name) return &type;
    return nullptr;
}

// Keys that are read, and keys without effect on a trained adapter.
constexpr std::string_view known_keys[] = {"peft_type",
                                           "task_type",
                                           "base_model_name_or_path",
                                           "revision",
                                           "inference_mode",
                                           "auto_mapping",
                                           "peft_version",
                                           "r",
                                           "lora_alpha",
                                           "lora_dropout",
                                           "target_modules",
                                           "exclude_modules",
                                           "fan_in_fan_out",
                                           "bias",
                                           "use_rslora",
                                           "modules_to_save",
                                           "init_lora_weights",
                                           "layers_to_transform",
                                           "layers_pattern",
                                           "rank_pattern",
                                           "alpha_pattern",
                                           "use_dora",
                                           "trainable_token_indices",
                                           "target_parameters",
                                           "alpha",
                                           "rank_dropout",
                                           "module_dropout",
                                           "use_effective_conv2d",
                                           "init_weights",
                                           "rank_dropout_scale",
                                           "decompose_both",
                                           "decompose_factor",
                                           "d_initial",
                                           "vera_dropout",
                                           "save_projection",
                                           "projection_prng_key",
                                           "oft_block_size",
                                           "coft",
                                           "eps",
                                           "block_share",
                                           "use_cayley_neumann",
                                           "num_cayley_neumann_terms",
                                           "feedforward_modules",
                                           "init_ia3_weights",
                                           "megatron_core",
                                           "loftq_config",
                                           "eva_config",
                                           "corda_config",
                                           "lora_ga_config",
                                           "qalora_group_size",
                                           "runtime_config",
                                           "ensure_weight_tying"};

// Keys that change what the adapter computes: only their default can be read.
constexpr std::string_view refused_keys[] = {"lora_bias",      "use_qalora",        "layer_replication",
                                             "arrow_config",   "use_bdlora",        "alora_invocation_tokens",
                                             "velora_config",  "monteclora_config", "kasa_config",
                                             "megatron_config"};

bool is_listed(std::string_view key, std::span<const std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool is_default(const Node& node) {
    if (node.is_null()) return true;
    if (node.is_bool()) return !node.as_bool();
    return (node.is_list() || node.is_map()) && node.size() == 0;
}

void check_supported(const ConfigReader& reader) {
    const std::string type = reader.text("peft_type");
    require(!type.empty(), Exit::bad_data, "{}: key \"peft_type\" is missing", reader.where);
    std::vector<std::string> known;
    for (const auto& [name, one] : types) known.emplace_back(name);
    require(type_named(type) != nullptr, Exit::bad_data, "{}: peft_type \"{}\" is not supported (supported: {})",
            reader.where, type, join(known));
    for (const std::string_view key : refused_keys)
        if (const Node* node = reader.document.find(key))
            require(is_default(*node), Exit::bad_data, "{}: {} is not supported", reader.where, key);
    const std::string bias = reader.text("bias");
    require(bias.empty() || bias == "none" || bias == "all" || bias == "lora_only", Exit::bad_data,
            "{}: bias: expected none, all or lora_only, found \"{}\"", reader.where, bias);
    // These make the loader change the base weights; the others only say how A and B began.
    if (const Node* init = reader.find("init_lora_weights"); init && init->is_string())
        for (const char* name : {"pissa", "olora", "corda", "loftq", "lora_ga", "mica"})
            require(
                !init->as_string().starts_with(name), Exit::bad_data,
                "{}: init_lora_weights \"{}\" changes the base weights and is not supported; convert the adapter to "
                "a plain LoRA",
                reader.where, init->as_string());
}

Node list_of(const std::vector<std::int64_t>& numbers) {
    Node::List list;
    for (const std::int64_t number : numbers) list.emplace_back(number);
    return Node(std::move(list));
}

Node token_indices(const AdapterConfig& config) {
    if (!config.token_indices.empty()) return list_of(config.token_indices);
    if (config.token_indices_by_module.empty()) return Node();
    Node map = Node::map();
    for (const auto& [module, ids] : config.token_indices_by_module) map.set(module, list_of(ids));
    return map;
}

Node layered_keys(const AdapterConfig& config) {
    Node node = Node::map();
    node.set("layers_pattern", list_or_null(config.layers_pattern));
    node.set("layers_to_transform", config.layers_to_transform.empty() ? Node() : list_of(config.layers_to_transform));
    return node;
}

Node patterned_keys(const AdapterConfig& config) {
    Node ranks = Node::map(), alphas = Node::map();
    for (const auto& [pattern, rank] : config.rank_pattern) ranks.set(pattern, rank);
    for (const auto& [pattern, alpha] : config.alpha_pattern) alphas.set(pattern, whole_or_real(alpha));
    Node node = layered_keys(config);
    node.set("alpha_pattern", std::move(alphas));
    node.set("r", config.rank);
    node.set("rank_pattern", std::move(ranks));
    return node;
}

Node lora_keys(const AdapterConfig& config) {
    Node node = patterned_keys(config);
    node.set("fan_in_fan_out", config.fan_in_fan_out);
    node.set("bias", config.bias);
    node.set("corda_config", nullptr);
    node.set("eva_config", nullptr);
    node.set("init_lora_weights", true);
    node.set("layer_replication", nullptr);
    node.set("loftq_config", Node::map());
    node.set("lora_alpha", whole_or_real(config.alpha));
    node.set("lora_bias", false);
    node.set("lora_dropout", config.dropout);
    node.set("megatron_config", nullptr);
    node.set("megatron_core", "megatron.core");
    node.set("peft_type", "LORA");
    node.set("qalora_group_size", 16);
    node.set("target_parameters", list_or_null(config.target_parameters));
    node.set("trainable_token_indices", token_indices(config));
    node.set("use_dora", config.use_dora);
    node.set("use_qalora", false);
    node.set("use_rslora", config.use_rslora);
    return node;
}

Node lycoris_keys(const AdapterConfig& config) {
    Node node = patterned_keys(config);
    node.set("alpha", whole_or_real(config.alpha));
    node.set("init_weights", true);
    node.set("module_dropout", 0.0);
    node.set("peft_type", std::string(adapter_type_name(config.type)));
    node.set("rank_dropout", 0.0);
    node.set("use_effective_conv2d", false);
    if (config.type == AdapterType::loha) return node;
    node.set("decompose_both", config.decompose_both);
    node.set("decompose_factor", config.decompose_factor);
    node.set("rank_dropout_scale", false);
    return node;
}

Node vera_keys(const AdapterConfig& config) {
    Node node = layered_keys(config);
    node.set("bias", "none");
    node.set("d_initial", config.d_initial);
    node.set("fan_in_fan_out", config.fan_in_fan_out);
    node.set("init_weights", true);
    node.set("peft_type", "VERA");
    node.set("projection_prng_key", 0);
    node.set("r", config.rank);
    node.set("save_projection", true);
    node.set("vera_dropout", config.dropout);
    return node;
}

Node oft_keys(const AdapterConfig& config) {
    Node node = layered_keys(config);
    node.set("bias", "none");
    node.set("block_share", false);
    node.set("coft", false);
    node.set("eps", 6e-5);
    node.set("fan_in_fan_out", config.fan_in_fan_out);
    node.set("init_weights", true);
    node.set("module_dropout", 0.0);
    node.set("num_cayley_neumann_terms", 5);
    node.set("oft_block_size", config.oft_block_size);
    node.set("peft_type", "OFT");
    node.set("r", 0);
    node.set("use_cayley_neumann", true);
    return node;
}

// Kinds of rotations that are computed otherwise.
void check_oft(const ConfigReader& reader) {
    for (const char* key : {"coft", "block_share"})
        require(!reader.flag(key), Exit::bad_data, "{}: {} is not supported", reader.where, key);
    const Node* neumann = reader.find("use_cayley_neumann");
    require(!neumann || reader.flag("use_cayley_neumann"), Exit::bad_data,
            "{}: use_cayley_neumann: false is not supported", reader.where);
    const std::int64_t terms = reader.integer("num_cayley_neumann_terms", 5);
    require(terms == 5, Exit::bad_data, "{}: num_cayley_neumann_terms: expected 5, found {}", reader.where, terms);
    require(reader.integer("r", 0) == 0 && reader.integer("oft_block_size", 32) > 1, Exit::bad_data,
            "{}: expected an oft_block_size of at least 2 and r 0, found {} and {}", reader.where,
            reader.integer("oft_block_size", 32), reader.integer("r", 0));
}

Node ia3_keys(const AdapterConfig& config) {
    Node node = Node::map();
    Node feedforward = modules(config.feedforward, config.feedforward_regex);
    if (feedforward.is_null()) feedforward = Node::list();   // null would mean PEFT's own choice
    node.set("fan_in_fan_out", config.fan_in_fan_out);
    node.set("feedforward_modules", std::move(feedforward));
    node.set("init_ia3_weights", true);
    node.set("peft_type", "IA3");
    return node;
}

Node keys_of_type(const AdapterConfig& config) {
    switch (config.type) {
        case AdapterType::lora:
            return lora_keys(config);
        case AdapterType::loha:
        case AdapterType::lokr:
            return lycoris_keys(config);
        case AdapterType::vera:
            return vera_keys(config);
        case AdapterType::oft:
            return oft_keys(config);
        case AdapterType::ia3:
            break;
    }
    return ia3_keys(config);
}

}   // namespace

std::string_view adapter_type_name(AdapterType type) {
    for (const auto& [name, one] : types)
        if (one == type) return name;
    return "";
}

std::string adapter_config_text(const AdapterConfig& config) {
    check(config.targets.empty() || config.target_regex.empty(), "adapter config: both targets and target_regex");
    Node targets = modules(config.targets, config.target_regex);
    if (targets.is_null()) {
        check(!config.target_parameters.empty(), "adapter config: no targets");
        targets = Node::list();   // null would mean PEFT's own choice
    }
    Node node = keys_of_type(config);
    node.set("auto_mapping", nullptr);
    node.set("base_model_name_or_path", text_or_null(config.base_model));
    node.set("exclude_modules", modules(config.exclude, config.exclude_regex));
    node.set("inference_mode", true);
    node.set("modules_to_save", list_or_null(config.modules_to_save));
    node.set("revision", text_or_null(config.revision));
    node.set("target_modules", std::move(targets));
    node.set("task_type", text_or_null(config.task_type));
    return to_json(node, {.indent = 2, .ensure_ascii = true, .sort_keys = true});
}

namespace {

// What PEFT takes for models of the Llama kind when a configuration names nothing.
std::vector<std::string> default_targets(AdapterType type) {
    if (type == AdapterType::ia3) return {"k_proj", "v_proj", "down_proj"};
    return {"q_proj", "v_proj"};
}

}   // namespace

AdapterConfig parse_adapter_config(const Node& document, const std::string& where, std::vector<std::string>& notes) {
    require(document.is_map(), Exit::bad_data, "{}: expected a map, found {}", where, document.describe());
    const ConfigReader reader{document, where};
    check_supported(reader);
    AdapterConfig config;
    config.type = *type_named(reader.text("peft_type"));
    config.base_model = reader.text("base_model_name_or_path");
    config.revision = reader.text("revision");
    config.task_type = reader.text("task_type");
    if (config.type == AdapterType::oft)
        check_oft(reader);
    else
        config.rank = reader.integer("r", 8);
    config.oft_block_size = reader.integer("oft_block_size", 32);
    require(config.rank > 0, Exit::bad_data, "{}: r: expected a positive integer, found {}", where, config.rank);
    config.alpha = reader.number(config.type == AdapterType::lora ? "lora_alpha" : "alpha", 8);
    config.dropout = reader.number(config.type == AdapterType::vera ? "vera_dropout" : "lora_dropout", 0);
    config.decompose_both = reader.flag("decompose_both");
    config.decompose_factor = reader.integer("decompose_factor", -1);
    require(config.decompose_factor >= -1, Exit::bad_data, "{}: decompose_factor: expected at least -1, found {}",
            where, config.decompose_factor);
    config.d_initial = reader.number("d_initial", 0.1);
    reader.modules("target_modules", config.targets, config.target_regex);
    if (config.type == AdapterType::lora) config.target_parameters = reader.texts("target_parameters");
    if (!reader.find("target_modules")) config.targets = default_targets(config.type);
    require(!config.targets.empty() || !config.target_regex.empty() || !config.target_parameters.empty(),
            Exit::bad_data, "{}: target_modules is empty", where);
    for (const char* key : {"rank_dropout", "module_dropout"})
        if (reader.number(key, 0) != 0)
            notes.push_back(format("{}: {} is not supported: further training drops nothing", where, key));
    reader.modules("exclude_modules", config.exclude, config.exclude_regex);
    config.modules_to_save = reader.texts("modules_to_save");
    for (const auto& entry : reader.map("rank_pattern")) {
        require(entry.value.is_integer() && entry.value.as_integer() > 0, Exit::bad_data,
                "{}: rank_pattern: {}: expected a positive integer, found {}", where, entry.key,
                entry.value.describe());
        config.rank_pattern.emplace_back(entry.key, entry.value.as_integer());
    }
    for (const auto& entry : reader.map("alpha_pattern")) {
        require(entry.value.is_number(), Exit::bad_data, "{}: alpha_pattern: {}: expected a number, found {}", where,
                entry.key, entry.value.describe());
        config.alpha_pattern.emplace_back(entry.key, entry.value.as_number());
    }
    if (const Node* layers = reader.find("layers_to_transform"); layers && layers->is_integer())
        config.layers_to_transform.push_back(layers->as_integer());
    else if (layers)
        config.layers_to_transform = reader.integers("layers_to_transform", *layers);
    if (const Node* tokens = reader.find("trainable_token_indices"); tokens && tokens->is_map())
        for (const auto& entry : tokens->as_map())
            config.token_indices_by_module.emplace_back(entry.key,
                                                        reader.integers("trainable_token_indices", entry.value));
    else if (tokens)
        config.token_indices = reader.integers("trainable_token_indices", *tokens);
    config.layers_pattern = reader.texts("layers_pattern");
    if (const std::string bias = reader.text("bias"); !bias.empty()) config.bias = bias;
    config.use_rslora = reader.flag("use_rslora");
    config.use_dora = reader.flag("use_dora");
    reader.modules("feedforward_modules", config.feedforward, config.feedforward_regex);
    if (!reader.find("feedforward_modules")) config.feedforward = {"down_proj"};   // PEFT's choice, as default_targets
    config.fan_in_fan_out = reader.flag("fan_in_fan_out");
    for (const auto& entry : document.as_map())
        if (!is_listed(entry.key, known_keys) && !is_listed(entry.key, refused_keys))
            notes.push_back(format("{}: key \"{}\" is not known and has no effect", where, entry.key));
    return config;
}

}   // namespace trainer
