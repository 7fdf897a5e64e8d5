#include "hub/bitsandbytes.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "configs/error.h"
#include "configs/json.h"
#include "hub/quantised.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

namespace fs = std::filesystem;

Node bitsandbytes_model() {
    return parse_json(R"({"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}})", "config");
}

Tensor waves(Shape shape) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape.elements(); ++i)
        values.push_back(static_cast<float>((i * 37 % 101) - 50) / static_cast<float>(7 + i % 5));
    return Tensor::from<float>(values, shape);
}

struct Stored {
    test::TemporaryFolder folder;
    FourBitMatrix four_bit{Shape(6, 70), DType::bf16, {}};
    Int8Matrix int8{Shape(3, 70), DType::f32};   // files do not say what it was compressed from
    std::vector<TensorToWrite> tensors;

    Stored() {
        for (PackedMatrix* matrix : {static_cast<PackedMatrix*>(&four_bit), static_cast<PackedMatrix*>(&int8)}) {
            matrix->prepare(Place::cpu());
            matrix->pack(waves(matrix->shape()));
        }
        for (TensorToWrite& part : bitsandbytes_tensors("model.a.weight", four_bit)) tensors.push_back(part);
        for (TensorToWrite& part : bitsandbytes_tensors("model.b.weight", int8)) tensors.push_back(part);
    }

    std::unique_ptr<WeightSource> open() {
        write_safetensors(folder.path() / "model.safetensors", tensors);
        Node config = bitsandbytes_model();
        std::vector<std::string> notes;
        return open_safetensors_weights(folder.path(), config, notes);
    }

    std::string error() {
        try {
            open();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_data);
            return error.what();
        }
        return "no error";
    }

    TensorToWrite& at(const std::string& name) {
        for (TensorToWrite& tensor : tensors)
            if (tensor.name == name) return tensor;
        throw std::out_of_range(name);
    }
    void remove(const std::string& name) {
        std::erase_if(tensors, [&](const TensorToWrite& tensor) { return tensor.name == name; });
    }
};

std::vector<float> values_of(const PackedMatrix& matrix) {
    Tensor out = Tensor::empty(matrix.shape(), DType::f32);
    matrix.unpack(0, 0, out);
    return out.to_vector<float>();
}

TEST(Bitsandbytes, WeightsAreShownUnderTheirOwnNamesAndShapes) {
    Stored stored;
    const auto source = stored.open();
    EXPECT_EQ(source->names(), (std::vector<std::string>{"model.a.weight", "model.b.weight"}));
    EXPECT_EQ(source->shape("model.a.weight"), (FileShape{6, 70}));
    EXPECT_EQ(source->stored_type("model.a.weight"), "nf4");
    EXPECT_EQ(source->stored_type("model.b.weight"), "int8");
    EXPECT_FALSE(source->contains("model.a.weight.absmax"));
}

TEST(Bitsandbytes, WhatIsWrittenIsReadCompressedAndUnpacked) {
    Stored stored;
    const auto source = stored.open();
    for (const auto& [name, written] : {std::pair<const char*, PackedMatrix*>{"model.a.weight", &stored.four_bit},
                                        {"model.b.weight", &stored.int8}}) {
        const auto matrix = source->packed(name, DType::f32);
        ASSERT_NE(matrix, nullptr);
        matrix->prepare(Place::cpu());
        ASSERT_TRUE(source->read_packed(name, *matrix));
        EXPECT_EQ(values_of(*matrix), values_of(*written));
        std::vector<float> dense(static_cast<std::size_t>(written->shape().elements()));
        source->read(name, DType::f32, dense.data());
        EXPECT_EQ(dense, values_of(*written));
    }
}

TEST(Bitsandbytes, AnotherFormatIsNotFilled) {
    Stored stored;
    const auto source = stored.open();
    FourBitMatrix other(Shape(6, 70), DType::bf16, {.block = 128});
    other.prepare(Place::cpu());
    EXPECT_FALSE(source->read_packed("model.a.weight", other));
}

TEST(Bitsandbytes, PartsThatAreMissingOrDoNotFitAreNamed) {
    Stored missing;
    missing.remove("model.a.weight.nested_absmax");
    EXPECT_EQ(missing.error(), missing.folder.path().string() +
                                   ": tensor model.a.weight.nested_absmax: is missing beside the quantised weight");
    Stored short_scales;
    short_scales.at("model.b.SCB").shape = {2};
    short_scales.at("model.b.SCB").bytes = short_scales.at("model.b.SCB").bytes.first(8);
    EXPECT_EQ(short_scales.error(),
              short_scales.folder.path().string() + ": tensor model.b.SCB: has 8 bytes, expected 12");
}

TEST(Bitsandbytes, AStateThatMakesNoSenseIsNamed) {
    const auto with_state = [](const std::string& state) {
        Stored stored;
        TensorToWrite& tensor = stored.at("model.a.weight.quant_state.bitsandbytes__nf4");
        tensor.shape = {static_cast<std::int64_t>(state.size())};
        tensor.produce = [state](const ByteSink& sink) { sink(std::as_bytes(std::span(state))); };
        std::string message = stored.error();
        return message.substr(message.find("nf4: ") + 5);
    };
    EXPECT_EQ(with_state(R"({"quant_type": "nf5"})"), "quant_type \"nf5\": expected nf4 or fp4");
    EXPECT_EQ(with_state(R"({"quant_type": "nf4", "blocksize": -64})"),
              "blocksize: expected an integer from 1 to 1048576");
    EXPECT_EQ(with_state(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "int3"})"),
              "dtype \"int3\": expected float32, float16 or bfloat16");
    EXPECT_EQ(with_state(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4]})"),
              "shape: expected two positive integers");
}

TEST(Bitsandbytes, AnotherMethodIsRefusedByName) {
    const Node config = parse_json(R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})", "config");
    try {
        open_quantised_weights(nullptr, config, "folder");
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data);
        EXPECT_NE(std::string(error.what()).find("quant_method is \"gptq\""), std::string::npos);
    }
    EXPECT_EQ(open_quantised_weights(nullptr, parse_json("{}", "config"), "folder"), nullptr);
}

}   // namespace
}   // namespace trainer
