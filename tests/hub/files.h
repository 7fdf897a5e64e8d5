#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace trainer::test {

// A folder that is gone at the end of the test.
class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "hub_test.XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

inline void put(const std::filesystem::path& path, std::string_view bytes) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string get(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Little-endian bytes of a number.
template <typename Number>
std::string raw(Number value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

inline std::string raw_f32(std::initializer_list<float> values) {
    std::string bytes;
    for (const float value : values) bytes += raw(value);
    return bytes;
}

// A safetensors file from its parts.
inline std::string safetensors(std::string_view header, std::string_view data = "") {
    return raw(static_cast<std::uint64_t>(header.size())) + std::string(header) + std::string(data);
}

// GGUF values: text with its length, keys with type and value.
inline std::string gguf_text(std::string_view text) {
    return raw(static_cast<std::uint64_t>(text.size())) + std::string(text);
}
inline std::string gguf_key(std::string_view key, std::uint32_t type, const std::string& value) {
    return gguf_text(key) + raw(type) + value;
}
inline std::string gguf_u32(std::string_view key, std::uint32_t value) { return gguf_key(key, 4, raw(value)); }
inline std::string gguf_f32(std::string_view key, float value) { return gguf_key(key, 6, raw(value)); }
inline std::string gguf_string(std::string_view key, std::string_view value) {
    return gguf_key(key, 8, gguf_text(value));
}
inline std::string gguf_bool(std::string_view key, bool value) {
    return gguf_key(key, 7, raw(static_cast<std::uint8_t>(value)));
}
inline std::string gguf_strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = raw(std::uint32_t{8}) + raw(static_cast<std::uint64_t>(values.size()));
    for (const std::string& value : values) bytes += gguf_text(value);
    return gguf_key(key, 9, bytes);
}
inline std::string gguf_i32s(std::string_view key, const std::vector<std::int32_t>& values) {
    std::string bytes = raw(std::uint32_t{5}) + raw(static_cast<std::uint64_t>(values.size()));
    for (const std::int32_t value : values) bytes += raw(value);
    return gguf_key(key, 9, bytes);
}

// Collects keys and tensors into a GGUF file of alignment 32.
struct GgufBuilder {
    std::string keys;
    std::uint64_t key_count = 0;
    std::string infos;
    std::string data;
    std::uint64_t tensor_count = 0;

    void key(const std::string& bytes) {
        keys += bytes;
        ++key_count;
    }
    // `sizes` in file order: row length first.
    void tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                const std::string& bytes) {
        infos += gguf_text(name) + raw(static_cast<std::uint32_t>(sizes.size()));
        for (const std::uint64_t size : sizes) infos += raw(size);
        infos += raw(type) + raw(static_cast<std::uint64_t>(data.size()));
        data += bytes;
        data.resize((data.size() + 31) / 32 * 32);
        ++tensor_count;
    }
    std::string bytes() const {
        std::string file = "GGUF" + raw(std::uint32_t{3}) + raw(tensor_count) + raw(key_count) + keys + infos;
        file.resize((file.size() + 31) / 32 * 32);
        return file + data;
    }
};

// f32 bytes of `count` values drawn from a fixed seed.
inline std::string random_f32(std::size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::string bytes;
    for (std::size_t i = 0; i < count; ++i) bytes += raw(uniform(generator));
    return bytes;
}

// A whole llama of one layer: hidden 8, 2 heads of 4, 1 key-value head, mlp 16, 6 tokens, weights in F32.
inline GgufBuilder tiny_llama() {
    GgufBuilder file;
    file.key(gguf_string("general.architecture", "llama"));
    file.key(gguf_u32("llama.block_count", 1));
    file.key(gguf_u32("llama.context_length", 64));
    file.key(gguf_u32("llama.embedding_length", 8));
    file.key(gguf_u32("llama.feed_forward_length", 16));
    file.key(gguf_u32("llama.attention.head_count", 2));
    file.key(gguf_u32("llama.attention.head_count_kv", 1));
    file.key(gguf_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f));
    file.key(gguf_f32("llama.rope.freq_base", 100000));
    file.key(gguf_string("tokenizer.ggml.model", "gpt2"));
    file.key(gguf_string("tokenizer.ggml.pre", "smollm"));
    file.key(gguf_strings("tokenizer.ggml.tokens", {"<|end|>", "a", "b", "ab", "\xC4\xA0", "[PAD5]"}));
    file.key(gguf_i32s("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 5}));
    file.key(gguf_strings("tokenizer.ggml.merges", {"a b"}));
    file.key(gguf_u32("tokenizer.ggml.eos_token_id", 0));
    file.key(gguf_string("tokenizer.chat_template", "{{ messages }}"));
    unsigned seed = 1;
    const auto add = [&](const char* name, std::vector<std::uint64_t> sizes) {
        std::size_t count = 1;
        for (const std::uint64_t size : sizes) count *= size;
        file.tensor(name, sizes, 0, random_f32(count, seed++));
    };
    add("token_embd.weight", {8, 6});
    add("blk.0.attn_norm.weight", {8});
    add("blk.0.attn_q.weight", {8, 8});
    add("blk.0.attn_k.weight", {8, 4});
    add("blk.0.attn_v.weight", {8, 4});
    add("blk.0.attn_output.weight", {8, 8});
    add("blk.0.ffn_norm.weight", {8});
    add("blk.0.ffn_gate.weight", {8, 16});
    add("blk.0.ffn_up.weight", {8, 16});
    add("blk.0.ffn_down.weight", {16, 8});
    add("output_norm.weight", {8});
    return file;
}

}   // namespace trainer::test
