#include "hub/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "configs/error.h"
#include "hub/safetensors.h"

namespace trainer {

namespace {

struct NamePair {
    std::string_view hub;
    std::string_view gguf;
};

constexpr std::array<NamePair, 3> model_names = {{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
}};

constexpr std::array<NamePair, 9> block_names = {{
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};

constexpr std::string_view hub_block = "model.layers.";
constexpr std::string_view gguf_block = "blk.";

// Translates "prefix" + number + "." + stem + ".weight" or ".bias", or a name outside the blocks.
std::optional<std::string> translate(std::string_view name, std::string_view NamePair::*from,
                                     std::string_view NamePair::*to, std::string_view from_block,
                                     std::string_view to_block) {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return {};
    const std::string_view kind = name.substr(dot);   // with its dot
    if (kind != ".weight" && kind != ".bias") return {};
    std::string_view stem = name.substr(0, dot);
    for (const NamePair& pair : model_names)
        if (pair.*from == stem) return std::string(pair.*to) + std::string(kind);
    if (!stem.starts_with(from_block)) return {};
    stem.remove_prefix(from_block.size());
    const std::size_t digits = std::min(stem.find_first_not_of("0123456789"), stem.size());
    if (digits == 0 || digits == stem.size() || stem[digits] != '.') return {};
    for (const NamePair& pair : block_names)
        if (pair.*from == stem.substr(digits + 1))
            return std::string(to_block) + std::string(stem.substr(0, digits)) + "." + std::string(pair.*to) +
                   std::string(kind);
    return {};
}

// Access to the metadata with messages that name the file.
struct Keys {
    const GgufFile& file;

    const Node* find(const std::string& key) const { return file.metadata().find(key); }
    std::int64_t integer(const std::string& key) const {
        const Node* node = find(key);
        require(node != nullptr, Exit::bad_data, "{}: metadata key {} is missing", file.path().string(), key);
        require(node->is_integer() && node->as_integer() > 0, Exit::bad_data,
                "{}: {}: expected a positive integer, found {}", file.path().string(), key, node->describe());
        return node->as_integer();
    }
    std::int64_t integer(const std::string& key, std::int64_t otherwise) const {
        return find(key) ? integer(key) : otherwise;
    }
    double number(const std::string& key) const {
        const Node* node = find(key);
        require(node != nullptr, Exit::bad_data, "{}: metadata key {} is missing", file.path().string(), key);
        require(node->is_number() && node->as_number() > 0, Exit::bad_data,
                "{}: {}: expected a positive number, found {}", file.path().string(), key, node->describe());
        return node->as_number();
    }
    double number(const std::string& key, double otherwise) const { return find(key) ? number(key) : otherwise; }
    std::string text(const std::string& key, const std::string& otherwise) const {
        const Node* node = find(key);
        if (!node) return otherwise;
        require(node->is_string(), Exit::bad_data, "{}: {}: expected a string, found {}", file.path().string(), key,
                node->describe());
        return node->as_string();
    }
};

struct Llama3Scaling {
    double factor, low, high, original;

    // What the frequency 1/θ^(2i/d), as wavelength, is divided by.
    double divisor(double wavelength) const {
        if (wavelength < original / high) return 1;
        if (wavelength > original / low) return factor;
        const double smooth = (original / wavelength - low) / (high - low);
        return 1 / ((1 - smooth) / factor + smooth);
    }
};

// The parameters behind a table of divisors. Between the two bounds, s = (L/λ − low)/(high − low) is a line in 1/λ:
// two points give it. Only two of L, low, high are determined (their common scale is free), so low is 1.
std::optional<Llama3Scaling> fit_llama3(const std::vector<float>& divisors, double base) {
    const std::size_t half = divisors.size();
    const auto wavelength = [&](std::size_t i) {
        return 2 * std::numbers::pi * std::pow(base, static_cast<double>(i) / static_cast<double>(half));
    };
    const double factor = *std::max_element(divisors.begin(), divisors.end());
    std::vector<std::pair<double, double>> points;   // 1/λ, s
    for (std::size_t i = 0; i < half; ++i)
        if (divisors[i] > 1.0001 && divisors[i] < factor * 0.9999)
            points.emplace_back(1 / wavelength(i), (1.0 / divisors[i] - 1 / factor) / (1 - 1 / factor));
    Llama3Scaling scaling{factor, 1, 4, 8192};   // of the published models, where the table says too little
    if (points.size() >= 2) {
        const auto [x0, s0] = points.front();
        const auto [x1, s1] = points.back();
        const double slope = (s1 - s0) / (x1 - x0);
        const double intercept = s0 - slope * x0;
        if (intercept >= 0) return {};
        scaling.high = std::round((1 - 1 / intercept) * 1000) / 1000;
        scaling.original = std::round(slope * (scaling.high - 1));
    }
    for (std::size_t i = 0; i < half; ++i)
        if (std::abs(scaling.divisor(wavelength(i)) / divisors[i] - 1) > 1e-4) return {};
    return scaling;
}

Node rope_scaling(const Keys& keys, double base, std::int64_t head_size) {
    const std::string file = keys.file.path().string();
    const GgufTensor* table = keys.file.find("rope_freqs.weight");
    if (table) {
        require(table->type == GgufType::f32 && table->shape == FileShape{head_size / 2}, Exit::bad_data,
                "{}: rope_freqs.weight is {} of shape {}, expected F32 of shape [{}]", file, name_of(table->type),
                shape_text(table->shape), head_size / 2);
        std::vector<float> divisors(static_cast<std::size_t>(head_size / 2));
        std::memcpy(divisors.data(), table->bytes.data(), table->bytes.size());
        if (std::all_of(divisors.begin(), divisors.end(), [](float value) { return value == 1; })) return {};
        const auto scaling = fit_llama3(divisors, base);
        require(scaling.has_value(), Exit::bad_data,
                "{}: rope_freqs.weight is not a llama3 rope scaling and cannot be expressed in config.json", file);
        Node node;
        node.set("rope_type", "llama3");
        node.set("factor", scaling->factor);
        node.set("low_freq_factor", scaling->low);
        node.set("high_freq_factor", scaling->high);
        node.set("original_max_position_embeddings", static_cast<std::int64_t>(scaling->original));
        return node;
    }
    const std::string type = keys.text("llama.rope.scaling.type", "none");
    if (type == "none") return {};
    Node node;
    node.set("rope_type", type);
    node.set("factor", keys.number("llama.rope.scaling.factor"));
    if (type == "linear") return node;
    require(type == "yarn", Exit::bad_data, "{}: rope scaling \"{}\" is not supported (supported: none, linear, yarn)",
            file, type);
    node.set("original_max_position_embeddings", keys.integer("llama.rope.scaling.original_context_length"));
    for (const auto& [key, name] : {NamePair{"attention_factor", "attn_factor"},
                                    NamePair{"beta_fast", "yarn_beta_fast"}, NamePair{"beta_slow", "yarn_beta_slow"}}) {
        const std::string full = "llama.rope.scaling." + std::string(name);
        if (keys.find(full)) node.set(key, keys.number(full));
    }
    return node;
}

// The dtype a config.json of these weights would name: that of the file, bfloat16 for quantised weights.
std::string config_dtype(const GgufFile& file) {
    const GgufTensor* embedding = file.find("token_embd.weight");
    if (embedding && embedding->type == GgufType::f32) return "float32";
    if (embedding && embedding->type == GgufType::f16) return "float16";
    return "bfloat16";
}

void set_token(Node& config, const Keys& keys, const char* name, const char* key) {
    const Node* node = keys.find(std::string("tokenizer.ggml.") + key);
    if (node && node->is_integer()) config.set(name, *node);
}

}   // namespace

std::optional<std::string> gguf_name(std::string_view hub_name) {
    return translate(hub_name, &NamePair::hub, &NamePair::gguf, hub_block, gguf_block);
}

std::optional<std::string> hub_name(std::string_view gguf_name) {
    return translate(gguf_name, &NamePair::gguf, &NamePair::hub, gguf_block, hub_block);
}

std::int64_t gguf_rotary_row(std::int64_t hub_row, std::int64_t head_size) {
    const std::int64_t head = hub_row / head_size;
    const std::int64_t within = hub_row % head_size;
    const std::int64_t half = head_size / 2;
    return head * head_size + 2 * (within % half) + within / half;
}

bool has_rotary_rows(std::string_view hub_name) {
    return hub_name.find(".self_attn.q_proj.") != std::string_view::npos ||
           hub_name.find(".self_attn.k_proj.") != std::string_view::npos;
}

Node gguf_config(const GgufFile& file) {
    const Keys keys{file};
    const std::string path = file.path().string();
    const std::string architecture = keys.text("general.architecture", "");
    require(!architecture.empty(), Exit::bad_data, "{}: metadata key general.architecture is missing", path);
    require(keys.text("general.type", "model") == "model", Exit::bad_data, "{}: is a GGUF {}, expected a model", path,
            keys.text("general.type", ""));
    require(architecture == "llama", Exit::bad_data, "{}: GGUF architecture \"{}\" is not supported (supported: llama)",
            path, architecture);
    require(keys.integer("split.count", 1) == 1, Exit::bad_data,
            "{}: is one part of a split GGUF; merge the parts first (llama-gguf-split --merge)", path);
    require(!keys.find("llama.expert_count") || keys.find("llama.expert_count")->as_integer() == 0, Exit::bad_data,
            "{}: GGUF models with experts are not supported", path);

    const std::int64_t hidden = keys.integer("llama.embedding_length");
    const std::int64_t heads = keys.integer("llama.attention.head_count");
    const std::int64_t head_size = keys.integer("llama.attention.key_length", hidden / heads);
    require(head_size > 0 && head_size % 2 == 0, Exit::bad_data, "{}: heads of size {}, expected an even number", path,
            head_size);
    require(keys.integer("llama.attention.value_length", head_size) == head_size, Exit::bad_data,
            "{}: heads whose keys and values differ in size are not supported", path);
    require(keys.integer("llama.rope.dimension_count", head_size) == head_size, Exit::bad_data,
            "{}: rotary positions over a part of the head are not supported", path);
    const GgufTensor& embedding = file.at("token_embd.weight");
    require(embedding.shape.size() == 2, Exit::bad_data, "{}: token_embd.weight has shape {}, expected two dimensions",
            path, shape_text(embedding.shape));

    Node config;
    config.set("architectures", Node::List{"LlamaForCausalLM"});
    config.set("model_type", "llama");
    config.set("vocab_size", embedding.shape[0]);
    config.set("hidden_size", hidden);
    config.set("intermediate_size", keys.integer("llama.feed_forward_length"));
    config.set("num_hidden_layers", keys.integer("llama.block_count"));
    config.set("num_attention_heads", heads);
    config.set("num_key_value_heads", keys.integer("llama.attention.head_count_kv", heads));
    config.set("head_dim", head_size);
    config.set("hidden_act", "silu");
    config.set("max_position_embeddings", keys.integer("llama.context_length"));
    config.set("rms_norm_eps", keys.number("llama.attention.layer_norm_rms_epsilon"));
    const double base = keys.number("llama.rope.freq_base", 10000);
    config.set("rope_theta", base);
    config.set("rope_scaling", rope_scaling(keys, base, head_size));
    config.set("attention_bias", file.find("blk.0.attn_q.bias") != nullptr);
    config.set("attention_dropout", 0.0);
    config.set("mlp_bias", file.find("blk.0.ffn_up.bias") != nullptr);
    config.set("tie_word_embeddings", file.find("output.weight") == nullptr);
    config.set("torch_dtype", config_dtype(file));
    config.set("dtype", config_dtype(file));
    set_token(config, keys, "bos_token_id", "bos_token_id");
    set_token(config, keys, "eos_token_id", "eos_token_id");
    set_token(config, keys, "pad_token_id", "padding_token_id");
    return config;
}

Node gguf_generation_config(const GgufFile& file) {
    const Keys keys{file};
    Node config = Node::map();
    config.set("_from_model_config", true);
    set_token(config, keys, "bos_token_id", "bos_token_id");
    Node::List ends;
    for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
        const Node* node = keys.find(std::string("tokenizer.ggml.") + key);
        if (node && node->is_integer() && std::find(ends.begin(), ends.end(), *node) == ends.end())
            ends.push_back(*node);
    }
    if (ends.size() == 1) config.set("eos_token_id", ends.front());
    if (ends.size() > 1) config.set("eos_token_id", ends);
    set_token(config, keys, "pad_token_id", "padding_token_id");
    return config;
}

}   // namespace trainer
