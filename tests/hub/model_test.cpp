// Safetensors vectors, model folders, GGUF models, the hub cache and loading into parameters.
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/convert.h"
#include "hub/export.h"
#include "hub/gguf_config.h"
#include "hub/gguf_tokenizer.h"
#include "hub/load.h"
#include "hub/snapshot.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

using namespace test;

Exit code_of(const std::function<void()>& action, std::string* message = nullptr) {
    try {
        action();
    } catch (const Error& error) {
        if (message) *message = error.what();
        return error.code();
    }
    return Exit::done;
}

TEST(Safetensors, WritesTheReferenceVectors) {
    const TemporaryFolder folder;
    const std::string data = raw_f32({0, 1, 2, 3, 4, 5});
    const auto bytes = std::as_bytes(std::span(data));
    write_safetensors(folder / "a", {{"attn.0", FileDType::f32, {1, 2, 3}, bytes, {}}}, {});
    EXPECT_EQ(get(folder / "a"),
              safetensors(R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})", data));
    write_safetensors(folder / "b", {{"attn0", FileDType::f32, {1, 1, 2, 3}, bytes, {}}}, {});
    EXPECT_EQ(get(folder / "b"),
              safetensors(R"({"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}}       )", data));
    write_safetensors(folder / "c", {}, {});
    EXPECT_EQ(get(folder / "c"), safetensors("{}      "));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 3);   // nothing temporary left
}

TEST(Safetensors, AFailedWriteLeavesNothing) {
    const TemporaryFolder folder;
    const std::string data = "1234";
    EXPECT_EQ(code_of([&] {
                  write_safetensors(folder / "a", {{"w", FileDType::f32, {2}, std::as_bytes(std::span(data)), {}}});
              }),
              Exit::internal);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    EXPECT_EQ(code_of([&] { write_safetensors(folder / "no/such/folder", {}); }), Exit::cannot_create);
}

TEST(Convert, EveryHalf) {
    for (unsigned bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(half_to_float(half)), std::bit_cast<std::uint32_t>(f16_to_float(half)));
    }
}

TEST(Gguf, NamesGoBothWays) {
    for (const char* name : {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
                             "model.layers.11.self_attn.q_proj.bias", "model.layers.0.post_attention_layernorm.weight"})
        EXPECT_EQ(hub_name(gguf_name(name).value()).value(), name);
    EXPECT_EQ(gguf_name("model.layers.3.mlp.down_proj.weight"), "blk.3.ffn_down.weight");
    for (const char* name : {"blk.x.attn_q.weight", "blk.1.attn_q", "blk.1attn_q.weight", "blk.1.moe.weight", "weight"})
        EXPECT_FALSE(hub_name(name).has_value()) << name;
}

TEST(Gguf, ModelReadsAsAFolder) {
    const TemporaryFolder folder;
    put(folder / "tiny.gguf", tiny_llama().bytes());
    const Snapshot snapshot = open_snapshot((folder / "tiny.gguf").string());
    EXPECT_EQ(snapshot.config.at("rms_norm_eps").as_number(), 1e-5);
    EXPECT_EQ(snapshot.config.at("rope_theta").as_number(), 100000);
    EXPECT_EQ(snapshot.config.at("head_dim").as_integer(), 4);
    EXPECT_TRUE(snapshot.config.at("tie_word_embeddings").as_bool());
    EXPECT_EQ(snapshot.tokenizer_config.at("eos_token").as_string(), "<|end|>");
    EXPECT_EQ(snapshot.tokenizer_config.at("chat_template").as_string(), "{{ messages }}");
    EXPECT_EQ(snapshot.tokenizer.at("model").at("vocab").size(), 5u);   // without the padding entry
    EXPECT_EQ(snapshot.weights->names().size(), 11u);

    // Rows of q are in the order 0 2 1 3 of each head; v is as stored.
    const std::string name = "model.layers.0.self_attn.q_proj.weight";
    std::vector<float> hub(64);
    std::vector<float> stored(64);
    snapshot.weights->read(name, DType::f32, hub.data());
    dequantise(snapshot.gguf->at("blk.0.attn_q.weight"), DType::f32, stored.data());
    std::vector<f16> halves(64);
    dequantise(snapshot.gguf->at("blk.0.attn_q.weight"), DType::f16, halves.data());
    for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(halves[i].bits, float_to_f16(stored[i]));
    constexpr std::size_t order[] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (std::size_t row = 0; row < 8; ++row)
        for (std::size_t column = 0; column < 8; ++column)
            EXPECT_EQ(hub[row * 8 + column], stored[order[row] * 8 + column]);
}

// A tiny llama whose metadata are changed; the message of the error.
std::string refused(const std::function<void(GgufBuilder&)>& change) {
    const TemporaryFolder folder;
    GgufBuilder file = tiny_llama();
    change(file);
    put(folder / "tiny.gguf", file.bytes());
    std::string message;
    EXPECT_EQ(code_of([&] { open_snapshot((folder / "tiny.gguf").string()); }, &message), Exit::bad_data);
    return message.substr(std::min(message.size(), (folder / "tiny.gguf").string().size()));
}

void replace(std::string& text, const std::string& from, const std::string& to) {
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
}

TEST(Gguf, RefusesWhatItCannotExpress) {
    EXPECT_EQ(refused([](GgufBuilder& f) { replace(f.keys, gguf_text("llama"), gguf_text("gemma")); }),
              ": GGUF architecture \"gemma\" is not supported (supported: llama)");
    EXPECT_EQ(refused([](GgufBuilder& f) { replace(f.keys, gguf_text("smollm"), gguf_text("tekken")); }),
              ": tokenizer.ggml.pre \"tekken\" is not supported (supported: smollm, gpt-2, llama-bpe, qwen2, default)");
    EXPECT_EQ(refused([](GgufBuilder& f) { replace(f.keys, gguf_text("gpt2"), gguf_text("bert")); }),
              ": tokenizer.ggml.model \"bert\" is not supported (supported: gpt2, byte-level BPE)");
    EXPECT_EQ(refused([](GgufBuilder& f) { replace(f.keys, gguf_text("a b"), gguf_text("a c")); }),
              ": tokenizer.ggml.merges: \"a c\" names a token that is not in the vocabulary");
    EXPECT_EQ(refused([](GgufBuilder& f) { replace(f.keys, "llama.embedding_length", "llama.embedding_lengtx"); }),
              ": metadata key llama.embedding_length is missing");
    EXPECT_EQ(refused([](GgufBuilder& f) { f.key(gguf_u32("llama.expert_count", 8)); }),
              ": GGUF models with experts are not supported");
    EXPECT_EQ(refused([](GgufBuilder& f) {
                  f.key(gguf_string("llama.rope.scaling.type", "longrope"));
                  f.key(gguf_f32("llama.rope.scaling.factor", 2));
              }),
              ": rope scaling \"longrope\" is not supported (supported: none, linear, yarn)");
    EXPECT_EQ(refused([](GgufBuilder& f) {
                  f.tensor("rope_freqs.weight", {2}, 0, raw_f32({3, 1}));
              }),
              ": rope_freqs.weight is not a llama3 rope scaling and cannot be expressed in config.json");
    EXPECT_EQ(refused([](GgufBuilder& f) { f.tensor("blk.0.attn_v.bias", {256}, 10, std::string(84, '\0')); }),
              ": tensor blk.0.attn_v.bias has type Q2_K, which is not supported (supported: F32, F16, BF16, Q4_0, "
              "Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K)");
    EXPECT_EQ(refused([](GgufBuilder& f) { f.tensor("mystery.weight", {1}, 0, raw_f32({1})); }),
              ": tensor mystery.weight is not part of a llama model");
}

TEST(Gguf, Llama3ScalingIsFoundInItsTable) {
    // Llama-3.2-1B: θ 500000, factor 32, 1, 4, 8192, heads of 64.
    std::string table;
    for (int i = 0; i < 32; ++i) {
        const double wavelength = 2 * 3.14159265358979323846 * std::pow(500000.0, i / 32.0);
        const double smooth = (8192 / wavelength - 1) / 3;
        const double value = wavelength < 2048 ? 1 : wavelength > 8192 ? 32 : 1 / ((1 - smooth) / 32 + smooth);
        table += raw(static_cast<float>(value));
    }
    GgufBuilder file;
    file.key(gguf_string("general.architecture", "llama"));
    for (const auto& [key, value] : {std::pair{"llama.block_count", 1u},
                                     {"llama.context_length", 131072u},
                                     {"llama.embedding_length", 64u},
                                     {"llama.feed_forward_length", 8u},
                                     {"llama.attention.head_count", 1u}})
        file.key(gguf_u32(key, value));
    file.key(gguf_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f));
    file.key(gguf_f32("llama.rope.freq_base", 500000));
    file.tensor("token_embd.weight", {64, 1}, 0, std::string(256, '\0'));
    file.tensor("rope_freqs.weight", {32}, 0, table);
    const TemporaryFolder folder;
    put(folder / "a.gguf", file.bytes());
    const Node scaling = gguf_config(GgufFile(folder / "a.gguf")).at("rope_scaling");
    EXPECT_EQ(scaling, parse_json(R"({"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
                                      "original_max_position_embeddings":8192})",
                                  "expected"));
}

const char* two_tensors =
    R"({"a.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"lm_head.weight":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})";

TEST(Snapshot, FolderCacheAndMissing) {
    const TemporaryFolder folder;
    const std::string commit(40, 'a');
    const auto repository = folder / "hub/models--org--tiny";
    put(repository / "refs/main", commit);
    const auto model = repository / "snapshots" / commit;
    put(model / "config.json", R"({"model_type":"llama","rope_parameters":{"rope_type":"default","rope_theta":5e5},
                                   "dtype":"bfloat16"})");
    put(model / "tokenizer_config.json", R"({"chat_template":"old","eos_token":"</s>"})");
    put(model / "chat_template.jinja", "new");
    put(model / "model.safetensors", safetensors(two_tensors, raw_f32({1, 2, 3})));
    ::setenv("HF_HUB_CACHE", (folder / "hub").c_str(), 1);
    const Snapshot snapshot = open_snapshot("org/tiny");
    EXPECT_TRUE(snapshot.is_hub_id);
    EXPECT_EQ(snapshot.revision, commit);
    EXPECT_EQ(snapshot.config.at("rope_theta").as_number(), 5e5);
    EXPECT_TRUE(snapshot.config.at("rope_scaling").is_null());
    EXPECT_EQ(snapshot.config.at("torch_dtype").as_string(), "bfloat16");
    EXPECT_FALSE(snapshot.config.at("tie_word_embeddings").as_bool());
    EXPECT_EQ(snapshot.tokenizer_config.at("chat_template").as_string(), "new");
    EXPECT_EQ(snapshot.weights->names(), (std::vector<std::string>{"lm_head.weight", "model.a.weight"}));
    EXPECT_EQ(snapshot.files.size(), 4u);

    EXPECT_EQ(code_of([] { open_snapshot("org/absent"); }), Exit::unavailable);
    EXPECT_EQ(code_of([] { open_snapshot("org/tiny", "v2"); }), Exit::unavailable);
    EXPECT_EQ(code_of([] { open_snapshot("./org/absent/model"); }), Exit::no_input);
    EXPECT_EQ(code_of([] { open_snapshot("absent.gguf"); }), Exit::no_input);
    EXPECT_EQ(code_of([&] { open_snapshot((folder / "hub").string()); }), Exit::no_input);
    ::unsetenv("HF_HUB_CACHE");
    std::filesystem::remove(model / "model.safetensors");
    EXPECT_EQ(code_of([&] { open_snapshot(model.string()); }), Exit::no_input);
    put(model / "pytorch_model.bin", "x");
    EXPECT_EQ(code_of([&] { open_snapshot(model.string()); }), Exit::refused);
}

TEST(Snapshot, TiedPairs) {
    const char* header =
        R"({"model.embed_tokens.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"lm_head.weight":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
    const TemporaryFolder folder;
    const char* config = R"({"model_type":"llama","tie_word_embeddings":true})";
    put(folder / "config.json", config);
    put(folder / "model.safetensors", safetensors(header, raw_f32({1, 1})));
    EXPECT_EQ(open_snapshot(folder.path().string()).weights->names(),
              std::vector<std::string>{"model.embed_tokens.weight"});
    put(folder / "model.safetensors", safetensors(header, raw_f32({1, 2})));
    const Snapshot untied = open_snapshot(folder.path().string());
    EXPECT_FALSE(untied.config.at("tie_word_embeddings").as_bool());
    EXPECT_EQ(untied.notes.size(), 1u);
}

TEST(Snapshot, BadIndex) {
    const TemporaryFolder folder;
    put(folder / "config.json", R"({"model_type":"llama"})");
    put(folder / "a.safetensors", safetensors(R"({"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "x"));
    const auto code_for = [&](const char* index) {
        put(folder / "model.safetensors.index.json", index);
        return code_of([&] { open_snapshot(folder.path().string()); });
    };
    EXPECT_EQ(code_for(R"({"weight_map":{"w":"a.safetensors"}})"), Exit::done);
    EXPECT_EQ(code_for(R"({"weight_map":{"w":"../a.safetensors"}})"), Exit::bad_data);
    EXPECT_EQ(code_for(R"({"weight_map":{"w":"/a.safetensors"}})"), Exit::bad_data);
    EXPECT_EQ(code_for(R"({"weight_map":{"v":"a.safetensors"}})"), Exit::bad_data);
    EXPECT_EQ(code_for(R"({"weight_map":{"w":"b.safetensors"}})"), Exit::no_input);
    EXPECT_EQ(code_for(R"({"weight_map":{}})"), Exit::bad_data);
}

TEST(Load, FillsParametersAndReportsAllAtOnce) {
    const TemporaryFolder folder;
    put(folder / "config.json", R"({"model_type":"llama"})");
    put(folder / "model.safetensors", safetensors(two_tensors, raw_f32({1, 2, 3})));
    const Snapshot snapshot = open_snapshot(folder.path().string());
    ParameterSet good;
    good.declare("model.a.weight", Shape(2)).value = Tensor::empty(Shape(2), DType::f32);
    good.declare("lm_head.weight", Shape(1)).value = Tensor::empty(Shape(1), DType::bf16);
    load_parameters(good, *snapshot.weights, "tiny");
    EXPECT_EQ(good.find("model.a.weight")->value.to_vector<float>(), (std::vector<float>{1, 2}));
    EXPECT_EQ(static_cast<float>(good.find("lm_head.weight")->value.to_vector<bf16>()[0]), 3);

    ParameterSet bad;
    bad.declare("model.a.weight", Shape(3));
    bad.declare("model.b.weight", Shape(1));
    std::string message;
    EXPECT_EQ(code_of([&] { load_parameters(bad, *snapshot.weights, "tiny"); }, &message), Exit::bad_data);
    EXPECT_EQ(message,
              "tiny: tensor model.a.weight has shape [2], expected [3]\n"
              "tiny: 1 tensor of the model is missing: model.b.weight\n"
              "tiny: 1 tensor is not part of the model: lm_head.weight");
}

TEST(Load, F16IsRoundedToAndRefusesWhatItCannotHold) {
    const TemporaryFolder folder;
    put(folder / "config.json", R"({"model_type":"llama"})");
    std::string message;
    const auto load_into_f16 = [&](float last) {
        put(folder / "model.safetensors", safetensors(two_tensors, raw_f32({0.1f, -65504, last})));
        const Snapshot snapshot = open_snapshot(folder.path().string());
        ParameterSet parameters;
        for (const auto& [name, count] : {std::pair("model.a.weight", 2), std::pair("lm_head.weight", 1)})
            parameters.declare(name, Shape(count)).value = Tensor::empty(Shape(count), DType::f16);
        const Exit code = code_of([&] { load_parameters(parameters, *snapshot.weights, "tiny"); }, &message);
        EXPECT_EQ(parameters.find("model.a.weight")->value.to_vector<f16>()[0].bits, float_to_f16(0.1f));
        return code;
    };
    EXPECT_EQ(load_into_f16(65519), Exit::done);   // to nearest still 65504
    EXPECT_EQ(load_into_f16(-70000), Exit::bad_recipe);
    EXPECT_EQ(message,
              "tiny: tensor lm_head.weight holds -70000, and f16 nothing beyond 65504; use training.precision: bf16, "
              "which holds it");
    EXPECT_EQ(load_into_f16(std::numeric_limits<float>::infinity()), Exit::diverged);
}

}   // namespace
}   // namespace trainer
