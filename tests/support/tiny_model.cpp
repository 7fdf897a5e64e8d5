#include "tests/support/tiny_model.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "configs/error.h"
#include "configs/json.h"
#include "data/byte_level.h"

namespace trainer::test {

namespace fs = std::filesystem;

namespace {

constexpr const char* chat_template =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

Node tokenizer_document() {
    Node vocabulary = Node::map();
    for (int byte = 0; byte < 256; ++byte) vocabulary.set(byte_level::letter(static_cast<unsigned char>(byte)), byte);
    vocabulary.set("at", 256);
    vocabulary.set("th", 257);
    Node merges = Node::list();
    merges.push_back(Node(Node::List{"a", "t"}));
    merges.push_back(Node(Node::List{"t", "h"}));
    Node model = Node::map();
    model.set("type", "BPE");
    model.set("vocab", std::move(vocabulary));
    model.set("merges", std::move(merges));

    Node added = Node::list();
    int id = 258;
    for (const char* content : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) {
        Node token = Node::map();
        token.set("id", id++);
        token.set("content", content);
        for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"}) token.set(key, false);
        token.set("special", true);
        added.push_back(std::move(token));
    }
    Node byte_level = Node::map();
    byte_level.set("type", "ByteLevel");
    byte_level.set("add_prefix_space", false);
    Node document = Node::map();
    document.set("added_tokens", std::move(added));
    document.set("pre_tokenizer", byte_level);
    document.set("decoder", byte_level);
    document.set("model", std::move(model));
    return document;
}

}   // namespace

ScratchFolder::ScratchFolder() {
    std::string pattern = (fs::temp_directory_path() / "trainer_test.XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void put_text(const fs::path& path, std::string_view text) {
    if (path.has_parent_path()) fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::string get_text(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Node tiny_config(const TinyShape& shape) {
    Node config = Node::map();
    config.set("architectures", Node(Node::List{"LlamaForCausalLM"}));
    config.set("model_type", "llama");
    config.set("vocab_size", shape.vocabulary);
    config.set("hidden_size", shape.hidden);
    config.set("intermediate_size", shape.intermediate);
    config.set("num_hidden_layers", shape.layers);
    config.set("num_attention_heads", shape.heads);
    config.set("num_key_value_heads", shape.kv_heads);
    config.set("max_position_embeddings", 512);
    config.set("rms_norm_eps", 1e-5);
    config.set("rope_theta", 10000.0);
    config.set("hidden_act", "silu");
    config.set("tie_word_embeddings", shape.tied);
    config.set("torch_dtype", "float32");
    config.set("bos_token_id", 258);
    config.set("eos_token_id", 260);
    return config;
}

std::vector<std::pair<std::string, FileShape>> tiny_tensors(const TinyShape& shape) {
    const std::int64_t head_dim = shape.hidden / shape.heads;
    std::vector<std::pair<std::string, FileShape>> tensors = {
        {"model.embed_tokens.weight", {shape.vocabulary, shape.hidden}}};
    for (std::int64_t i = 0; i < shape.layers; ++i) {
        const std::string layer = "model.layers." + std::to_string(i) + ".";
        tensors.insert(tensors.end(),
                       {
                           {layer + "input_layernorm.weight", {shape.hidden}},
                           {layer + "self_attn.q_proj.weight", {shape.hidden, shape.hidden}},
                           {layer + "self_attn.k_proj.weight", {shape.kv_heads * head_dim, shape.hidden}},
                           {layer + "self_attn.v_proj.weight", {shape.kv_heads * head_dim, shape.hidden}},
                           {layer + "self_attn.o_proj.weight", {shape.hidden, shape.hidden}},
                           {layer + "post_attention_layernorm.weight", {shape.hidden}},
                           {layer + "mlp.gate_proj.weight", {shape.intermediate, shape.hidden}},
                           {layer + "mlp.up_proj.weight", {shape.intermediate, shape.hidden}},
                           {layer + "mlp.down_proj.weight", {shape.hidden, shape.intermediate}},
                       });
    }
    tensors.push_back({"model.norm.weight", {shape.hidden}});
    if (!shape.tied) tensors.push_back({"lm_head.weight", {shape.vocabulary, shape.hidden}});
    return tensors;
}

void write_tiny_weights(const fs::path& file, const std::vector<std::pair<std::string, FileShape>>& tensors,
                        unsigned seed, FileDType dtype) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0f, 0.1f);
    std::vector<std::string> values;
    for (const auto& [name, shape] : tensors) {
        const bool norm = shape.size() == 1;
        const float scale =
            name.find("embed") != std::string::npos ? 3.0f : 1.0f;   // logits that can tell tokens apart
        std::string bytes;
        for (std::int64_t i = 0; i < element_count(shape); ++i) {
            const float value = scale * normal(generator) + (norm ? 1.0f : 0.0f);
            bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
        }
        bytes.resize(static_cast<std::size_t>(element_count(shape) * bits_of(dtype) / 8));
        values.push_back(std::move(bytes));
    }
    std::vector<TensorToWrite> written;
    for (std::size_t i = 0; i < tensors.size(); ++i)
        written.push_back({tensors[i].first, dtype, tensors[i].second,
                           std::as_bytes(std::span(values[i].data(), values[i].size())), nullptr});
    write_safetensors(file, written);
}

void set_weights(const fs::path& file, const std::string& tensor, std::int64_t begin, std::int64_t end, float value) {
    std::uint64_t at = 0;
    {
        const SafetensorsFile weights(file);
        at = weights.data_begin() + weights.at(tensor).begin + static_cast<std::uint64_t>(begin) * sizeof value;
    }
    std::fstream out(file, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(static_cast<std::streamoff>(at));
    for (std::int64_t i = begin; i < end; ++i) out.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_tiny_model(const fs::path& folder, const TinyShape& shape) {
    fs::create_directories(folder);
    JsonStyle style;
    style.indent = 2;
    put_text(folder / "config.json", to_json(tiny_config(shape), style));
    put_text(folder / "tokenizer.json", to_json(tokenizer_document()));
    Node tokenizer_config = Node::map();
    tokenizer_config.set("bos_token", "<|endoftext|>");
    tokenizer_config.set("eos_token", "<|im_end|>");
    tokenizer_config.set("chat_template", chat_template);
    put_text(folder / "tokenizer_config.json", to_json(tokenizer_config, style));
    write_tiny_weights(folder / "model.safetensors", tiny_tensors(shape), shape.seed);
}

std::string tiny_chats(int rows, unsigned seed) {
    static constexpr const char* words[] = {"the ", "cat ", "then ", "ate ", "blue ", "é ", "north ", "sea ", "日 "};
    std::mt19937 generator(seed);
    const auto text = [&](unsigned most) {
        std::string out;
        for (unsigned i = 1 + generator() % most; i > 0; --i) out += words[generator() % std::size(words)];
        return out;
    };
    std::string lines;
    for (int row = 0; row < rows; ++row) {
        Node messages = Node::list();
        for (unsigned turn = 1 + generator() % 2; turn > 0; --turn)
            for (const char* role : {"user", "assistant"}) {
                Node message = Node::map();
                message.set("role", role);
                message.set("content", text(role[0] == 'a' && row % 3 == 0 ? 20 : 4));
                messages.push_back(std::move(message));
            }
        Node line = Node::map();
        line.set("messages", std::move(messages));
        lines += to_json(line) + "\n";
    }
    return lines;
}

std::string lettered_chats(int rows) {
    std::string lines;
    for (int row = 0; row < rows; ++row)
        lines += std::string(R"({"messages": [{"role": "user", "content": "the cat"}, )") +
                 R"({"role": "assistant", "content": "ate )" + static_cast<char>('A' + row) + " then\"}]}\n";
    return lines;
}

void write_tiny_project(const fs::path& folder, const std::string& length, int eval_every, int checkpoint_every) {
    write_tiny_model(folder / "model");
    put_text(folder / "train.jsonl", tiny_chats(48));
    put_text(folder / "valid.jsonl", tiny_chats(12, 9));
    put_text(
        folder / "recipe.yaml",
        format("model: {{base: model}}\n"
               "data: {{train: {{path: train.jsonl}}, valid: {{path: valid.jsonl}}, max_length: 256, packing: true}}\n"
               "peft: {{method: lora, rank: 4, alpha: 8, dropout: 0.1}}\n"
               "training: {{{}, batch: 9, micro_batch: 1, precision: f32}}\n"
               "optimizer: {{lr: 5e-3, weight_decay: 0.1}}\n"
               "schedule: {{warmup: 1}}\n"
               "eval: {{every: {}}}\n"
               "checkpoint: {{every: {}, keep: 3}}\n"
               "output: out\n",
               length, eval_every, checkpoint_every));
}

}   // namespace trainer::test
