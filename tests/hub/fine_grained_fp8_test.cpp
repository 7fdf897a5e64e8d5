#include "hub/fine_grained_fp8.h"

#include <gtest/gtest.h>

#include "autograd/quant/unpack_kernels.h"
#include "configs/error.h"
#include "configs/json.h"
#include "tests/hub/files.h"

namespace trainer {
namespace {

struct Stored {
    test::TemporaryFolder folder;
    Fp8Matrix matrix{Shape(64, 96), DType::f32, {32, 32}};
    std::vector<TensorToWrite> tensors;
    std::string sizes = "[32, 32]";

    Stored() {
        std::vector<float> values;
        for (std::int64_t i = 0; i < matrix.shape().elements(); ++i)
            values.push_back(static_cast<float>(i * 37 % 101 - 50) / static_cast<float>(7 + i % 5));
        matrix.prepare(Place::cpu());
        matrix.pack(Tensor::from<float>(values, matrix.shape()));
        tensors = fp8_tensors("model.a.weight", matrix);
    }

    std::unique_ptr<WeightSource> open() {
        write_safetensors(folder.path() / "model.safetensors", tensors);
        Node config = parse_json(
            R"({"model_type": "llama", "quantization_config": {"quant_method": "fp8", "weight_block_size": )" + sizes +
                "}}",
            "config");
        std::vector<std::string> notes;
        return open_safetensors_weights(folder.path(), config, notes);
    }

    std::string error() {
        try {
            open();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_data);
            const std::string message = error.what();
            return message.substr(message.find(": ") + 2);
        }
        return "no error";
    }
};

TEST(FineGrainedFp8, IsReadCompressedAndUnpacked) {
    Stored stored;
    const auto source = stored.open();
    EXPECT_EQ(source->names(), std::vector<std::string>{"model.a.weight"});
    EXPECT_EQ(source->stored_type("model.a.weight"), "fp8");
    const auto packed = source->packed("model.a.weight", DType::f32);
    packed->prepare(Place::cpu());
    ASSERT_TRUE(source->read_packed("model.a.weight", *packed));
    Tensor expected = Tensor::empty(stored.matrix.shape(), DType::f32);
    stored.matrix.unpack(0, 0, expected);
    Tensor found = Tensor::empty(stored.matrix.shape(), DType::f32);
    packed->unpack(0, 0, found);
    EXPECT_EQ(found.to_vector<float>(), expected.to_vector<float>());
    std::vector<float> read(static_cast<std::size_t>(expected.elements()));
    source->read("model.a.weight", DType::f32, read.data());
    EXPECT_EQ(read, expected.to_vector<float>());
    Fp8Matrix other(stored.matrix.shape(), DType::f32, {64, 32});
    other.prepare(Place::cpu());
    EXPECT_FALSE(source->read_packed("model.a.weight", other));
}

TEST(FineGrainedFp8, PartsThatDoNotAgreeAreRefused) {
    Stored block;
    block.sizes = "[32, 96]";
    EXPECT_EQ(block.error(), "tensor model.a.weight_scale_inv: has shape [2, 3], expected [2, 1]");
    Stored sizes;
    sizes.sizes = "[32, 0]";
    EXPECT_EQ(sizes.error(),
              "config.json: quantization_config.weight_block_size: expected two integers from 1 to 1048576");
    Stored alone;
    alone.tensors.pop_back();
    EXPECT_EQ(alone.error(), "tensor model.a.weight_scale_inv: is missing beside the quantised weight");
    Stored type;
    type.tensors[0].dtype = FileDType::f8_e5m2;
    EXPECT_EQ(type.error(), "tensor model.a.weight: is F8_E5M2 [64, 96], expected a matrix of F8_E4M3");
}

TEST(FineGrainedFp8, OneFactorForTheWholeMatrix) {
    Stored stored;
    stored.sizes = "null";
    Tensor one = Tensor::from<float>(std::vector<float>{0.5f}, Shape(1));
    stored.tensors[1] = tensor_in_memory("model.a.weight_scale_inv", FileDType::f32, {}, one);
    const auto source = stored.open();
    std::vector<float> read(static_cast<std::size_t>(stored.matrix.shape().elements()));
    source->read("model.a.weight", DType::f32, read.data());
    Tensor codes = stored.matrix.codes();
    for (std::int64_t i = 0; i < codes.elements(); ++i) {
        float value = 0;
        v2::decode_fp8(codes.data<std::uint8_t>() + i, 1, 0.5f, &value);
        EXPECT_EQ(read[static_cast<std::size_t>(i)], value);
    }
}

}   // namespace
}   // namespace trainer
