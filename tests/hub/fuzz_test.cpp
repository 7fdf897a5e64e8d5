// Random changes of small files: a reader may refuse them, it may not crash. Run under the address sanitizer too.
#include <gtest/gtest.h>

#include "configs/error.h"
#include "hub/adapter.h"
#include "hub/bitsandbytes.h"
#include "hub/fine_grained_fp8.h"
#include "hub/snapshot.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

using namespace test;

std::string changed(std::string bytes, std::mt19937& generator) {
    const auto pick = [&](std::size_t count) { return generator() % count; };
    const std::size_t changes = 1 + pick(4);
    for (std::size_t i = 0; i < changes && !bytes.empty(); ++i) {
        const std::size_t at = pick(bytes.size());
        switch (pick(4)) {
            case 0:
                bytes[at] = static_cast<char>(generator());
                break;
            case 1:
                bytes[at] = static_cast<char>(bytes[at] ^ (1 << pick(8)));
                break;
            case 2:
                bytes.erase(at, 1 + pick(8));
                break;
            default:
                bytes.insert(at, std::string(1 + pick(8), static_cast<char>(generator())));
                break;
        }
    }
    return bytes;
}

void read_everything(const WeightSource& source) {
    for (const std::string& name : source.names()) {
        std::vector<float> values(static_cast<std::size_t>(element_count(source.shape(name))));
        source.read(name, DType::f32, values.data());
    }
}

// Counts how many of the changed files are refused; anything but an Error escapes and fails the test.
template <typename Open>
void fuzz(const std::string& bytes, const std::filesystem::path& path, unsigned rounds, Open open) {
    std::mt19937 generator(7);
    unsigned refused = 0;
    for (unsigned i = 0; i < rounds; ++i) {
        put(path, changed(bytes, generator));
        try {
            open();
        } catch (const Error& error) {
            EXPECT_NE(error.code(), Exit::internal) << error.what();
            ++refused;
        }
    }
    EXPECT_GT(refused, rounds / 10);
}

TEST(Fuzz, Gguf) {
    const TemporaryFolder folder;
    const auto path = folder / "model.gguf";
    fuzz(tiny_llama().bytes(), path, 1000, [&] { read_everything(*open_snapshot(path.string()).weights); });
}

TEST(Fuzz, Safetensors) {
    const TemporaryFolder folder;
    put(folder / "config.json", R"({"model_type":"llama"})");
    const std::string bytes = safetensors(
        R"({"__metadata__":{"format":"pt"},"model.a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
        R"("model.b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"c":{"dtype":"U8","shape":[],"data_offsets":[22,23]}})",
        std::string(23, 'x'));
    fuzz(bytes, folder / "model.safetensors", 1000,
         [&] { read_everything(*open_snapshot(folder.path().string()).weights); });
}

// Compressed weights and all that belongs to them, opened as the library that wrote them says.
void fuzz_quantised(const std::string& config, const std::vector<TensorToWrite>& tensors) {
    const TemporaryFolder folder;
    put(folder / "config.json", R"({"model_type":"llama","quantization_config":)" + config + "}");
    write_safetensors(folder / "model.safetensors", tensors);
    const std::string bytes = get(folder / "model.safetensors");
    fuzz(bytes, folder / "model.safetensors", 2000, [&] {
        const Snapshot snapshot = open_snapshot(folder.path().string());
        read_everything(*snapshot.weights);
        for (const std::string& name : snapshot.weights->names())
            if (const auto matrix = snapshot.weights->packed(name, DType::f32)) {
                matrix->prepare(Place::cpu());
                snapshot.weights->read_packed(name, *matrix);
            }
    });
}

TEST(Fuzz, Bitsandbytes) {
    FourBitMatrix plain(Shape(3, 40), DType::bf16, {.block = 32, .double_quant = false});
    FourBitMatrix nested(Shape(3, 40), DType::f32, {});
    Int8Matrix int8(Shape(3, 8), DType::f32);
    for (PackedMatrix* matrix :
         {static_cast<PackedMatrix*>(&plain), static_cast<PackedMatrix*>(&nested), static_cast<PackedMatrix*>(&int8)}) {
        matrix->prepare(Place::cpu());
        matrix->pack(Tensor::zeros(matrix->shape(), DType::f32));
    }
    std::vector<TensorToWrite> tensors = bitsandbytes_tensors("model.a.weight", plain);
    for (TensorToWrite& part : bitsandbytes_tensors("model.b.weight", nested)) tensors.push_back(part);
    for (TensorToWrite& part : bitsandbytes_tensors("model.c.weight", int8)) tensors.push_back(part);
    fuzz_quantised(R"({"quant_method":"bitsandbytes"})", tensors);
}

TEST(Fuzz, Fp8) {
    Fp8Matrix matrix(Shape(8, 16), DType::f32, {4, 8});
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::zeros(matrix.shape(), DType::f32));
    fuzz_quantised(R"({"quant_method":"fp8","weight_block_size":[4,8]})", fp8_tensors("model.a.weight", matrix));
}

TEST(Fuzz, AdapterConfig) {
    const TemporaryFolder folder;
    AdapterConfig config;
    config.targets = {"q_proj"};
    config.rank = 1;
    config.rank_pattern = {{"a", 1}};
    const float values[4] = {};
    write_adapter(folder.path(), config,
                  {{"base_model.model.q_proj.lora_A.weight", {1, 4}, values, {}},
                   {"base_model.model.q_proj.lora_B.weight", {4, 1}, values, {}}});
    const std::string bytes = get(folder / "adapter_config.json");
    fuzz(bytes, folder / "adapter_config.json", 500, [&] { AdapterFile file(folder.path()); });
}

}   // namespace
}   // namespace trainer
