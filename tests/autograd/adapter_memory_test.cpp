// What ops of adapters hold while they work is counted, and is gone afterwards.
#include <gtest/gtest.h>

#include <functional>

#include "autograd/memory.h"
#include "autograd/ops/block_rotation.h"
#include "autograd/ops/composed_update.h"
#include "autograd/tape.h"

namespace trainer {
namespace {

std::size_t bytes_of(const MemoryUse& use, Purpose purpose) { return use.bytes[static_cast<std::size_t>(purpose)]; }
std::size_t peak_of(const MemoryUse& use, Purpose purpose) { return use.peak_bytes[static_cast<std::size_t>(purpose)]; }

Tensor zeros(Shape shape, DType dtype, Place place, Purpose purpose) {
    const PurposeScope scope(purpose);
    return Tensor::zeros(shape, dtype, place);
}

void give_value(Parameter& parameter, DType dtype, Place place) {
    parameter.value = zeros(parameter.shape, dtype, place, Purpose::weights);
    parameter.trainable = true;
    parameter.changed();
}

template <typename Run>
void forward_and_backward(Place place, Shape out, Run&& run) {
    Tape tape;
    Tensor y;
    {
        const Recording recording(tape);
        y = run();
    }
    tape.backward(y, Tensor::zeros(out, DType::f32, place));
}

class AdapterMemory : public ::testing::TestWithParam<Place> {};

// One matrix of a gradient, and four to make it from, beside the input and what the tape holds.
TEST_P(AdapterMemory, MatricesOfRotationsAreCounted) {
    const Place place = GetParam();
    constexpr std::int64_t block = 256;
    Parameter upper("upper", {1, block * (block - 1) / 2});
    give_value(upper, DType::f32, place);
    const Tensor x = Tensor::zeros({2, block}, DType::f32, place);
    const std::size_t before = bytes_of(memory_use(place), Purpose::workspace);
    reset_memory_peak(place);
    forward_and_backward(place, x.shape(), [&] { return block_rotation(x, upper, block); });
    EXPECT_GE(peak_of(memory_use(place), Purpose::workspace) - before, std::size_t{5 * block * block * 4});
    EXPECT_EQ(bytes_of(memory_use(place), Purpose::workspace), before);
}

// Small blocks are worked on together, but not all of them.
TEST_P(AdapterMemory, ManyRotationsAreMadeInPieces) {
    const Place place = GetParam();
    constexpr std::int64_t block = 32, columns = 64 * 1024;
    Parameter upper("upper", {columns / block, block * (block - 1) / 2});
    give_value(upper, DType::f32, place);
    const std::size_t before = memory_use(place).total();
    reset_memory_peak(place);
    block_rotations(upper, block);
    EXPECT_LT(memory_use(place).peak_total() - before, std::size_t{columns * block * 4 * 11 / 10});
}

void expect_no_copy_of_weights(Parameter& parameter, Place place, const std::function<void()>& use) {
    give_value(parameter, DType::bf16, place);
    const std::size_t before = bytes_of(memory_use(place), Purpose::weights);
    use();
    EXPECT_EQ(bytes_of(memory_use(place), Purpose::weights), before) << parameter.name;
}

TEST_P(AdapterMemory, TrainedBf16ValuesAreConvertedForAWhile) {
    const Place place = GetParam();
    const Tensor x = Tensor::zeros({3, 64}, DType::f32, place);
    Parameter upper("upper", {4, 16 * 15 / 2});
    expect_no_copy_of_weights(
        upper, place, [&] { forward_and_backward(place, x.shape(), [&] { return block_rotation(x, upper, 16); }); });
    Parameter whole("whole", {8, 8}), a("a", {8, 2}), b("b", {2, 8});
    give_value(a, DType::bf16, place);
    give_value(b, DType::bf16, place);
    ComposedMatrix matrix;
    matrix.how = Composition::kronecker;
    matrix.first.whole = &whole;
    matrix.second = {nullptr, &a, &b};
    expect_no_copy_of_weights(
        whole, place, [&] { forward_and_backward(place, x.shape(), [&] { return composed_update(x, x, matrix); }); });
}

TEST_P(AdapterMemory, GradientsOfWholeMatricesCountAsGradients) {
    const Place place = GetParam();
    const Tensor x = Tensor::zeros({3, 64}, DType::f32, place);
    Parameter first("first", {8, 8}), second("second", {8, 8});
    give_value(first, DType::f32, place);
    give_value(second, DType::f32, place);
    ComposedMatrix matrix;
    matrix.how = Composition::kronecker;
    matrix.first.whole = &first;
    matrix.second.whole = &second;
    const MemoryUse before = memory_use(place);
    for (int pass = 0; pass < 2; ++pass) {
        forward_and_backward(place, x.shape(), [&] { return composed_update(x, x, matrix); });
        const MemoryUse now = memory_use(place);
        EXPECT_EQ(bytes_of(now, Purpose::gradients) - bytes_of(before, Purpose::gradients), 2u * 64 * 4) << pass;
        EXPECT_EQ(bytes_of(now, Purpose::workspace), bytes_of(before, Purpose::workspace)) << pass;
    }
}

// Gradients of rotations are sums over all tokens, added up from parts.
TEST(AdapterMemoryOfLongSums, IsTheSameOnMeta) {
    const auto peak = [](Place place) {
        Parameter upper("upper", {2, 64 * 63 / 2});
        give_value(upper, DType::f32, place);
        const Tensor x = Tensor::zeros({4096, 128}, DType::f32, place);
        const std::size_t before = memory_use(place).total();
        reset_memory_peak(place);
        forward_and_backward(place, x.shape(), [&] { return block_rotation(x, upper, 64); });
        return memory_use(place).peak_total() - before;
    };
    EXPECT_EQ(peak(Place::meta()), peak(Place::cpu()));
}

INSTANTIATE_TEST_SUITE_P(Places, AdapterMemory, ::testing::Values(Place::cpu(), Place::meta()));

}   // namespace
}   // namespace trainer
