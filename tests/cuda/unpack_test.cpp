// Compressed matrices on the GPU have the bits that they have on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "autograd/cuda/runtime.h"
#include "autograd/quant/block_matrix.h"
#include "autograd/quant/four_bit.h"
#include "autograd/quant/fp8_blocks.h"
#include "autograd/quant/int8_rows.h"
#include "autograd/quant/packed_weight.h"
#include "autograd/quant/row_view.h"
#include "autograd/random.h"
#include "configs/error.h"
#include "tests/cuda/device.h"

namespace trainer {
namespace {

using Matrix = std::shared_ptr<PackedMatrix>;

std::uint32_t word(std::uint64_t seed, std::size_t i) {
    return philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0})[0];
}

void fill_bytes(Tensor& part, std::uint64_t seed) {
    for (std::size_t i = 0; i < part.bytes(); ++i)
        static_cast<std::uint8_t*>(part.raw())[i] = static_cast<std::uint8_t>(word(seed, i) >> 24);
}

// Scales of all sizes, some of them 0, subnormal, infinite or NaN.
void fill_scales(Tensor& part, std::uint64_t seed) {
    constexpr float special[] = {0.0f, -0.0f, 1e-41f, 3.4e38f, 1e-38f, INFINITY, NAN, -2.5f};
    for (std::int64_t i = 0; i < part.elements(); ++i) {
        const std::uint32_t drawn = word(seed, static_cast<std::size_t>(i));
        part.data<float>()[i] =
            drawn % 8 == 0 ? special[drawn / 8 % 8] : std::ldexp(uniform(drawn), static_cast<int>(drawn / 8 % 24) - 16);
    }
}

void fill_codes(PackedMatrix& matrix, std::uint64_t seed) {
    matrix.set([&] {
        if (auto* four_bit = dynamic_cast<FourBitMatrix*>(&matrix)) {
            fill_bytes(four_bit->codes(), seed);
            four_bit->map()[3] = 0.3f;   // those of a file may be others
            if (four_bit->options().double_quant) {
                fill_bytes(four_bit->absmax(), seed + 1);
                fill_scales(four_bit->nested_absmax(), seed + 2);
                four_bit->nested_map()[7] = -0.1f;
                four_bit->offset() = 0.7f;
            } else {
                fill_scales(four_bit->absmax(), seed + 1);
            }
        } else if (auto* int8 = dynamic_cast<Int8Matrix*>(&matrix)) {
            fill_bytes(int8->codes(), seed);
            fill_scales(int8->absmax(), seed + 1);
        } else if (auto* fp8 = dynamic_cast<Fp8Matrix*>(&matrix)) {
            fill_bytes(fp8->codes(), seed);
            fill_scales(fp8->scales(), seed + 1);
        } else {
            fill_bytes(dynamic_cast<BlockMatrix&>(matrix).blocks(), seed);
        }
    });
}

struct Format {
    std::string name;
    std::vector<Shape> shapes;
    std::function<Matrix(Shape shape, DType dtype)> make;
};

std::vector<Format> formats() {
    const std::vector<Shape> any = {{5, 37}, {40, 72}, {3, 2080}, {1, 1}};
    std::vector<Format> all;
    const auto add_four_bit = [&](const FourBitOptions& options) {
        all.push_back(
            {format("{} of {}{}", name_of(options.code), options.block, options.double_quant ? " nested" : ""), any,
             [=](Shape shape, DType dtype) { return std::make_shared<FourBitMatrix>(shape, dtype, options); }});
    };
    for (const bool nested : {false, true}) {
        add_four_bit({.block = 64, .double_quant = nested});
        add_four_bit({.block = 6, .double_quant = nested, .nested_block = 5});
    }
    add_four_bit({.code = FourBitCode::fp4, .block = 4096});
    all.push_back({"int8", any, [](Shape shape, DType dtype) { return std::make_shared<Int8Matrix>(shape, dtype); }});
    for (const Fp8Block block : {Fp8Block{128, 128}, Fp8Block{3, 10}})
        all.push_back({format("fp8 of {}x{}", block.rows, block.columns), any,
                       [=](Shape shape, DType dtype) { return std::make_shared<Fp8Matrix>(shape, dtype, block); }});
    for (const BlockFormat of : block_formats()) {
        const std::int64_t unit = block_elements(of);
        all.push_back({std::string(name_of(of)),
                       {{7, unit}, {3, 5 * unit}, {2, 1024 / unit * unit + unit}},
                       [=](Shape shape, DType dtype) { return std::make_shared<BlockMatrix>(shape, dtype, of); }});
    }
    return all;
}

// What a tensor of floats holds, all NaN as one: a GPU's are others.
std::vector<std::uint32_t> bits(const Tensor& tensor) {
    std::vector<std::uint32_t> out;
    for (const float value : converted(tensor, DType::f32).to_vector<float>())
        out.push_back(std::isnan(value) ? ~0u : std::bit_cast<std::uint32_t>(value));
    return out;
}

struct Part {
    std::int64_t row, column, rows, columns;
    std::int64_t beside = 0;   // columns before those that are written
};

std::vector<Part> parts_of(Shape shape) {
    const std::int64_t rows = shape.rows(), columns = shape.columns();
    std::vector<Part> parts = {{0, 0, rows, columns}, {rows - 1, 0, 1, columns, 3}};
    if (columns < 37) return parts;
    const std::int64_t middle = rows / 2;
    parts.push_back({middle, 8, rows - middle, 24});   // eight at once
    parts.push_back({0, 8, rows, (columns - 8) / 8 * 8, 8});
    parts.push_back({middle, 8, rows - middle, 24, 3});   // not, for where they go,
    parts.push_back({middle, 3, rows - middle, 24});      // where they come from
    parts.push_back({0, 16, rows, 13});                   // or how many they are
    parts.push_back({0, columns - 1, rows, 1});
    return parts;
}

class CudaUnpack : public ::testing::TestWithParam<std::size_t> {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    }
};

// All parts of a matrix that held `dtype`.
void compare(const Format& of, Shape shape, DType dtype, DType target) {
    const Matrix here = of.make(shape, dtype), there = of.make(shape, dtype);
    here->prepare(Place::cpu());
    there->prepare(Place::cuda());
    fill_codes(*here, 5);
    fill_codes(*there, 5);
    ASSERT_TRUE(there->place().is_cuda());
    for (const Part& part : parts_of(shape)) {
        // The CPU does not compute in f16.
        Tensor expected = Tensor::zeros({part.rows, part.columns}, target == DType::f16 ? DType::f32 : target);
        here->unpack(part.row, part.column, expected);
        if (target == DType::f16) round_values(expected, target);
        Tensor wide = Tensor::zeros({part.rows, part.beside + part.columns}, target, Place::cuda());
        Tensor found = wide.column_range(part.beside, part.beside + part.columns);
        there->unpack(part.row, part.column, found);
        ASSERT_EQ(bits(found), bits(expected))
            << shape.text() << " of " << name_of(dtype) << " into " << name_of(target) << ", " << part.rows << "x"
            << part.columns << " from " << part.row << ", " << part.column;
    }
}

TEST_P(CudaUnpack, HasTheBitsOfTheCpu) {
    const Format of = formats()[GetParam()];
    for (const DType target : {DType::f32, DType::bf16, DType::f16}) {
        for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) compare(of, of.shapes[1], dtype, target);
        for (const Shape& shape : of.shapes) compare(of, shape, DType::bf16, target);
    }
}

TEST_P(CudaUnpack, RowsById) {
    const Format of = formats()[GetParam()];
    const Shape shape = of.shapes.front();
    const Matrix here = of.make(shape, DType::bf16), there = of.make(shape, DType::bf16);
    here->prepare(Place::cpu());
    there->prepare(Place::cuda());
    fill_codes(*here, 6);
    fill_codes(*there, 6);
    const auto last = static_cast<std::int32_t>(shape.rows() - 1);
    const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{last, -1, 0, last, 1 % (last + 1)}, 5);
    Tensor expected = Tensor::zeros({5, shape.columns()}, DType::bf16);
    Tensor found = Tensor::zeros(expected.shape(), DType::bf16, Place::cuda());
    here->unpack_rows(ids, expected);
    there->unpack_rows(on_place(ids, Place::cuda()), found);
    EXPECT_EQ(bits(found), bits(expected));
}

std::string format_name(const ::testing::TestParamInfo<std::size_t>& info) {
    std::string name = formats()[info.param].name;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaUnpack, ::testing::Range(std::size_t{0}, formats().size()), format_name);

TEST(CudaPack, IsDoneOnTheHost) {
    if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    for (const Format& of : formats()) {
        const Shape shape = of.shapes.front();
        const Matrix here = of.make(shape, DType::f32), there = of.make(shape, DType::f32);
        if (dynamic_cast<BlockMatrix*>(here.get())) continue;   // is only read
        Tensor values = Tensor::empty(shape, DType::f32);
        for (std::int64_t i = 0; i < shape.elements(); ++i)
            values.data<float>()[i] = 2 * uniform(word(3, static_cast<std::size_t>(i))) - 1;
        Tensor expected = Tensor::zeros(shape, DType::f32), found = Tensor::zeros(shape, DType::f32, Place::cuda());
        here->prepare(Place::cpu());
        there->prepare(Place::cuda());
        here->pack(values);
        there->pack(values);
        here->unpack(0, 0, expected);
        there->unpack(0, 0, found);
        EXPECT_EQ(bits(found), bits(expected)) << of.name;
    }
}

// A stack of compressed and other rows, at a place.
struct Stack {
    Parameter q{"q", {11, 96}}, k{"k", {6, 96}}, v{"v", {5, 96}};
    std::unique_ptr<Weight> weight;

    explicit Stack(Place place) {
        q.packed = std::make_shared<FourBitMatrix>(q.shape, DType::bf16, FourBitOptions{});
        v.packed = std::make_shared<Int8Matrix>(v.shape, DType::bf16);
        weight = make_weight({&q, &k, &v}, DType::bf16, DType::bf16, place);
        fill_codes(*q.packed, 1);
        k.set([](float* values) {
            for (std::size_t i = 0; i < 6 * 96; ++i) values[i] = uniform(word(2, i));
        });
        fill_codes(*v.packed, 3);
    }
};

TEST(CudaPackedWeight, RowsOfAStackThatIsCompressedInPart) {
    if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    const Stack here(Place::cpu()), there(Place::cuda());
    const auto picked = [](Weight& weight, const std::vector<std::int32_t>& ids, Place place) {
        const auto count = static_cast<std::int64_t>(ids.size());
        Tensor out = Tensor::empty({count, 96}, DType::bf16, place);
        weight.rows(Tensor::from<std::int32_t>(ids, count), out);
        return bits(out);
    };
    const std::vector<std::int32_t> ids = {21, 0, 10, 11, 16, 17, 3, 21};
    EXPECT_EQ(picked(*there.weight, ids, Place::cuda()), picked(*here.weight, ids, Place::cpu()));
    RowView here_rows(*here.weight, 9, 19), there_rows(*there.weight, 9, 19);
    const std::vector<std::int32_t> within = {9, 0, 1, 2, 8};
    EXPECT_EQ(picked(there_rows, within, Place::cuda()), picked(here_rows, within, Place::cpu()));
    EXPECT_EQ(bits(there.weight->dense(DType::bf16)), bits(here.weight->dense(DType::bf16)));
    Tensor out = Tensor::empty({1, 96}, DType::bf16, Place::cuda());
    EXPECT_THROW(there.weight->rows(Tensor::from<std::int32_t>(std::vector<std::int32_t>{22}, 1), out), Error);
}

}   // namespace
}   // namespace trainer
