#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "autograd/cpu/gemm.h"
#include "autograd/quant/block_matrix.h"
#include "autograd/quant/four_bit.h"
#include "autograd/quant/fp8_blocks.h"
#include "autograd/quant/int8_rows.h"
#include "autograd/quant/packed_weight.h"
#include "autograd/quant/unpack_kernels.h"
#include "autograd/random.h"
#include "configs/error.h"

namespace trainer {
namespace {

std::vector<float> random_values(std::int64_t count, std::uint64_t seed, float scale = 1) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < count; ++i) {
        const auto words = philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0});
        values.push_back(scale * (uniform(words[0]) + uniform(words[1]) - uniform(words[2]) - uniform(words[3])));
    }
    return values;
}

Tensor random_matrix(Shape shape, std::uint64_t seed, DType dtype = DType::f32) {
    return converted(Tensor::from<float>(random_values(shape.elements(), seed), shape), dtype);
}

std::vector<std::uint8_t> first_bytes(const Tensor& tensor, std::size_t count) {
    const auto* bytes = tensor.data<std::uint8_t>();
    return {bytes, bytes + count};
}

std::vector<float> unpacked(const PackedMatrix& matrix) {
    Tensor out = Tensor::empty(matrix.shape(), DType::f32);
    matrix.unpack(0, 0, out);
    return out.to_vector<float>();
}

TEST(FourBit, TheWorkedExampleOfTheReference) {
    std::vector<float> values(64, 0.0f);
    values[0] = 0.5f, values[1] = -1.0f, values[2] = 0.25f, values[3] = 2.0f;
    FourBitMatrix matrix(Shape(1, 64), DType::f32, {.double_quant = false});
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::from<float>(values, Shape(1, 64)));
    EXPECT_EQ(first_bytes(matrix.codes(), 4), (std::vector<std::uint8_t>{0xA2, 0x9F, 0x77, 0x77}));
    EXPECT_EQ(matrix.absmax().data<float>()[0], 2.0f);
    const std::vector<float> found = unpacked(matrix);
    EXPECT_EQ(found[0], 2 * 0.24611230194568634f);
    EXPECT_EQ(found[1], 2 * -0.5250730514526367f);
    EXPECT_EQ(found[2], 2 * 0.16093020141124725f);
    EXPECT_EQ(found[3], 2.0f);
    EXPECT_EQ(found[4], 0.0f);
}

TEST(FourBit, TiesGoToTheLowerCodeAndTheLastHalfByteIsZero) {
    const auto& nf4 = values_of(FourBitCode::nf4);
    const float tie = (nf4[8] + nf4[9]) / 2.0f;
    FourBitMatrix matrix(Shape(1, 3), DType::f32, {.block = 32, .double_quant = false});
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::from<float>(std::vector<float>{1.0f, tie, std::nextafter(tie, 1.0f)}, Shape(1, 3)));
    EXPECT_EQ(first_bytes(matrix.codes(), 2), (std::vector<std::uint8_t>{0xF8, 0x97}));
}

TEST(FourBit, AZeroMatrixStaysZero) {
    for (const FourBitCode code : {FourBitCode::nf4, FourBitCode::fp4})
        for (const bool double_quant : {false, true}) {
            FourBitMatrix matrix(Shape(3, 50), DType::bf16, {.code = code, .double_quant = double_quant});
            matrix.prepare(Place::cpu());
            matrix.pack(Tensor::zeros(Shape(3, 50), DType::bf16));
            for (const float value : unpacked(matrix)) EXPECT_EQ(value, 0.0f);
        }
}

TEST(FourBit, DoubleQuantisationIsCloseToPlainScales) {
    const Tensor values = random_matrix({64, 640}, 3);
    FourBitMatrix plain(values.shape(), DType::f32, {.double_quant = false}), nested(values.shape(), DType::f32, {});
    for (FourBitMatrix* matrix : {&plain, &nested}) {
        matrix->prepare(Place::cpu());
        matrix->pack(values);
    }
    EXPECT_EQ(plain.codes().to_vector<std::uint8_t>(), nested.codes().to_vector<std::uint8_t>());
    const std::vector<float> a = unpacked(plain), b = unpacked(nested);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(static_cast<double>(a[i] - b[i]), 2);
        size += std::pow(static_cast<double>(a[i]), 2);
    }
    EXPECT_LT(std::sqrt(difference / size), 0.01);
    EXPECT_EQ(nested.bytes(), 64u * 640 / 2 + 640 + 3 * sizeof(float));
}

TEST(Fp8, EveryCodeComesBack) {
    for (unsigned code = 0; code < 256; ++code) {
        if ((code & 0x7F) == 0x7F) continue;   // NaN
        const auto byte = static_cast<std::uint8_t>(code);
        float value = 0;
        v2::decode_fp8(&byte, 1, 1.0f, &value);
        EXPECT_EQ(fp8_code(value), byte) << value;
    }
    const std::uint8_t nan = 0xFF;
    float value = 0;
    v2::decode_fp8(&nan, 1, 1.0f, &value);
    EXPECT_TRUE(std::isnan(value));
    EXPECT_EQ(fp8_code(0x1p-10f), 0);                           // a tie, to even
    EXPECT_EQ(fp8_code(std::nextafter(0x1p-10f, 1.0f)), 1);     // the smallest number
    EXPECT_EQ(fp8_code(std::nextafter(0x1p-6f, 0.0f)), 0x08);   // the smallest normal one
    EXPECT_EQ(fp8_code(-448.0f), 0xFE);
}

// Blocks at the ends are smaller; every block has its own scale, and values of a ratio to it that the format has come
// back exactly.
TEST(Fp8, BlocksAtTheEndsAreSmaller) {
    const Shape shape(70, 37);
    std::vector<float> values;
    for (std::int64_t row = 0; row < shape.rows(); ++row)
        for (std::int64_t column = 0; column < shape.columns(); ++column) {
            const float block = std::ldexp(1.0f, static_cast<int>(row / 32 * 5 - column / 32));
            values.push_back(block *
                             (row % 32 == 0 && column % 32 == 0 ? 448.0f : static_cast<float>((row + column) % 9)));
        }
    Fp8Matrix matrix(shape, DType::f32, {32, 32});
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::from<float>(values, shape));
    EXPECT_EQ(matrix.scales().elements(), 3 * 2);
    const std::vector<float> found = unpacked(matrix);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(found[i], values[i], 1e-6f * std::abs(values[i])) << i;
    EXPECT_FALSE(matrix.is_even());
}

TEST(Fp8, TheSmallestNumbersDoNotBecomeNan) {
    Fp8Matrix matrix(Shape(2, 2), DType::f32, {32, 32});
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::from<float>(std::vector<float>{1e-40f, -1e-45f, 0.0f, 1e-41f}, Shape(2, 2)));
    for (const float value : unpacked(matrix)) EXPECT_LE(std::abs(value), 1e-36f);
}

TEST(DynamicMap, HasTheValuesOfTheReference) {
    const DynamicMap& both = signed_dynamic_map();
    EXPECT_EQ(both[0], -0.99296876788139343f);
    EXPECT_EQ(both[127], 0.0f);
    EXPECT_EQ(both[255], 1.0f);
    EXPECT_FLOAT_EQ(both[128], 5.5e-7f);
    const DynamicMap& positive = unsigned_dynamic_map();
    EXPECT_EQ(positive[0], 0.0f);
    EXPECT_FLOAT_EQ(positive[1], 3.25e-7f);
    EXPECT_EQ(positive[255], 1.0f);
    EXPECT_TRUE(std::is_sorted(both.begin(), both.end()) && std::is_sorted(positive.begin(), positive.end()));
}

TEST(DynamicMap, TheNearestEntryIsFound) {
    const DynamicMap& map = signed_dynamic_map();
    for (const float value : random_values(2000, 9, 0.6f)) {
        const float found = std::abs(map[nearest_code(map, value)] - value);
        for (const float entry : map) ASSERT_LE(found, std::abs(entry - value) + 1e-7f) << value;
    }
}

TEST(Int8, RowsHaveTheirOwnScales) {
    Int8Matrix matrix(Shape(3, 2), DType::f32);
    matrix.prepare(Place::cpu());
    matrix.pack(Tensor::from<float>(std::vector<float>{2, -1, 0, 0, -8, 3}, Shape(3, 2)));
    EXPECT_EQ(first_bytes(matrix.codes(), 6), (std::vector<std::uint8_t>{127, 0xC0, 0, 0, 0x81, 48}));
    EXPECT_EQ(matrix.absmax().to_vector<float>(), (std::vector<float>{2, 0, 8}));
    EXPECT_FLOAT_EQ(unpacked(matrix)[5], 8.0f * 48 / 127);
}

TEST(BlockFormat, TheVectorsOfTheReference) {
    const std::vector<std::uint8_t> q4_0 = {0x00, 0x40, 0x80, 0x91, 0x91, 0xa2, 0xa2, 0xb3, 0xb3,
                                            0xc4, 0xc4, 0xd5, 0xd5, 0xe6, 0xe6, 0xf7, 0xf7, 0xf8};
    std::vector<float> out(32);
    decode_blocks(BlockFormat::q4_0, reinterpret_cast<const std::byte*>(q4_0.data()), 32, out.data());
    EXPECT_EQ(out[0], -16.0f);
    EXPECT_EQ(out[16], 0.0f);
    EXPECT_EQ(out[31], 14.0f);
}

std::shared_ptr<PackedMatrix> packed_copy(const std::string& format, const Tensor& values, DType dtype) {
    std::shared_ptr<PackedMatrix> matrix;
    if (format == "int8")
        matrix = std::make_shared<Int8Matrix>(values.shape(), dtype);
    else
        matrix = std::make_shared<FourBitMatrix>(
            values.shape(), dtype,
            FourBitOptions{.code = format == "fp4" ? FourBitCode::fp4 : FourBitCode::nf4, .block = 32});
    return matrix;
}

// A stack of a packed, a plain and another packed matrix, and the same stack made dense of the unpacked values.
struct Stack {
    Parameter q, k, v;
    std::unique_ptr<Weight> packed;
    Tensor dense;

    Stack(const std::string& format, std::int64_t in, DType compute)
        : q("q", {40, in}), k("k", {9, in}), v("v", {300, in}) {
        for (Parameter* parameter : {&q, &v})
            parameter->packed = packed_copy(format, Tensor::empty(parameter->shape, DType::f32), compute);
        packed = make_weight({&q, &k, &v}, compute, compute, Place::cpu());
        q.packed->pack(random_matrix(q.shape, 1));
        v.packed->pack(random_matrix(v.shape, 2));
        copy(random_matrix(k.shape, 3), k.value);
        dense = packed->dense(compute);
    }
};

std::vector<float> floats(const Tensor& tensor) { return converted(tensor, DType::f32).to_vector<float>(); }

TEST(PackedWeight, ProductsAreThoseOfTheUnpackedValues) {
    for (const char* format : {"nf4", "fp4", "int8"})
        for (const std::int64_t in : {32, 50, 7001})   // the last one needs several panels of columns and rows
            for (const DType compute : {DType::f32, DType::bf16}) {
                const Stack stack(format, in, compute);
                const std::int64_t out = stack.packed->out_features();
                const Tensor x = random_matrix({5, in}, 4, compute), dy = random_matrix({5, out}, 5, compute);
                Tensor y = Tensor::zeros({5, out}, compute), expected_y = Tensor::zeros({5, out}, compute);
                Tensor dx = Tensor::zeros({5, in}, compute), expected_dx = Tensor::zeros({5, in}, compute);
                stack.packed->forward(x, y, false);
                gemm_reference(expected_y, x, false, stack.dense, true, false);
                stack.packed->grad_input(dy, dx, false);
                gemm_reference(expected_dx, dy, false, stack.dense, false, false);
                const auto near = [&](const Tensor& a, const Tensor& b) {
                    const std::vector<float> left = floats(a), right = floats(b);
                    double difference = 0, size = 0;
                    for (std::size_t i = 0; i < left.size(); ++i) {
                        difference += std::pow(static_cast<double>(left[i] - right[i]), 2);
                        size += std::pow(static_cast<double>(right[i]), 2);
                    }
                    return std::sqrt(difference / size) < (compute == DType::f32 ? 1e-5 : 2.5e-3);
                };
                EXPECT_TRUE(near(y, expected_y)) << format << " " << in;
                EXPECT_TRUE(near(dx, expected_dx)) << format << " " << in;

                Tensor part = Tensor::empty({5, 49}, compute), part_dx = Tensor::empty({5, in}, compute);
                stack.packed->forward_rows(0, 49, x, part, false);
                EXPECT_TRUE(near(part, converted(owned(expected_y.column_range(0, 49)), compute)));
                stack.packed->grad_input_rows(40, 60, dy.column_range(40, 60), part_dx, false);
                gemm_reference(expected_dx, dy.column_range(40, 60), false, stack.dense.row_range(40, 60), false,
                               false);
                EXPECT_TRUE(near(part_dx, expected_dx));
            }
}

TEST(PackedWeight, RowsAreThoseOfTheDenseWeight) {
    const Stack stack("nf4", 50, DType::f32);
    const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{0, 39, 40, 48, 49, 348}, {6});
    Tensor y = Tensor::empty({6, 50}, DType::f32);
    stack.packed->rows(ids, y);
    for (std::int64_t n = 0; n < 6; ++n) {
        const std::int64_t id = ids.data<std::int32_t>()[n];
        EXPECT_EQ(y.row_range(n, n + 1).to_vector<float>(), stack.dense.row_range(id, id + 1).to_vector<float>());
    }
}

TEST(PackedWeight, MemoryIsCountedAlsoOnMeta) {
    Parameter one("w", {128, 256});
    one.packed = std::make_shared<FourBitMatrix>(one.shape, DType::bf16, FourBitOptions{});
    const std::size_t before = memory_use(Place::meta()).bytes[0];
    const auto weight = make_weight({&one}, DType::bf16, DType::bf16, Place::meta());
    EXPECT_EQ(weight->bytes(), 128u * 256 / 2 + 512 + 2 * sizeof(float));
    const std::size_t counted = memory_use(Place::meta()).bytes[0] - before;
    EXPECT_GE(counted, weight->bytes());
    EXPECT_LT(counted, weight->bytes() + 2048);
}

TEST(PackedWeight, ATrainableParameterIsRefused) {
    Parameter one("w", {4, 32});
    one.trainable = true;
    one.packed = std::make_shared<Int8Matrix>(one.shape, DType::f32);
    EXPECT_THROW(make_weight({&one}, DType::f32, DType::f32, Place::cpu()), Error);
}

}   // namespace
}   // namespace trainer
