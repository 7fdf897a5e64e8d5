#include "autograd/cuda/copy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "autograd/tensor.h"
#include "tests/cuda/device.h"

namespace trainer {
namespace {

class CopyTest : public testing::Test {
protected:
    void SetUp() override {
        if (!device_is_there()) GTEST_SKIP() << cuda::why_absent();
    }
};

std::vector<std::byte> noise(std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::byte> all(count);
    for (std::byte& one : all) one = static_cast<std::byte>(random());
    return all;
}

// There and back, rows of both sides apart from one another, more than the ring has in all.
void expect_round_trip(std::size_t row_bytes, std::size_t rows, std::size_t host_gap, std::size_t device_gap) {
    SCOPED_TRACE(std::to_string(rows) + " rows of " + std::to_string(row_bytes));
    const std::size_t host_pitch = row_bytes + host_gap, device_pitch = row_bytes + device_gap;
    std::vector<std::byte> host = noise(rows * host_pitch, 7);
    const std::vector<std::byte> sent = host;
    const Tensor there = Tensor::empty(static_cast<std::int64_t>(rows * device_pitch), DType::u8, Place::cuda());
    cuda::copy_rows(cuda::Direction::to_device, there.raw(), device_pitch, host.data(), host_pitch, row_bytes, rows);
    std::memset(host.data(), 0, host.size());   // it was taken
    std::vector<std::byte> back(rows * host_pitch);
    cuda::copy_rows(cuda::Direction::to_host, back.data(), host_pitch, there.raw(), device_pitch, row_bytes, rows);
    for (std::size_t row = 0; row < rows; ++row)
        ASSERT_EQ(std::memcmp(back.data() + row * host_pitch, sent.data() + row * host_pitch, row_bytes), 0) << row;
}

TEST_F(CopyTest, EveryByteComesBack) {
    expect_round_trip(4, 1, 0, 0);
    expect_round_trip(24, 1000, 8, 0);
    expect_round_trip(3000, 7000, 0, 0);        // 21 MB in one piece
    expect_round_trip(3000, 7000, 16, 40);      // and row by row
    expect_round_trip(9'000'000, 3, 64, 128);   // a row is more than a segment
}

// Small copies follow one another without the host waiting; each has its own values.
TEST_F(CopyTest, ManySmallCopiesDoNotMix) {
    const Tensor there = Tensor::empty(Shape(3000, 2000), DType::i32, Place::cuda());   // 24 MB
    for (std::int64_t i = 0; i < there.rows(); ++i) {
        const std::vector<std::int32_t> values(2000, static_cast<std::int32_t>(i));
        Tensor row = there.row_range(i, i + 1);
        copy(Tensor::from<std::int32_t>(values, Shape(1, 2000)), row);
    }
    const std::vector<std::int32_t> back = there.to_vector<std::int32_t>();
    for (std::size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back[i], static_cast<std::int32_t>(i / 2000)) << i;
}

TEST_F(CopyTest, PinnedMemoryIsReadWhenTheEventIsDone) {
    std::byte* const pinned = cuda::allocate_pinned(64);
    ASSERT_NE(pinned, nullptr);
    const Tensor there = on_place(Tensor::from<std::int32_t>(std::vector<std::int32_t>(16, 42), 16), Place::cuda());
    cuda::Event done;
    done.wait();   // never recorded
    cuda::begin_copy(cuda::Direction::to_host, pinned, 64, there.raw(), 64, 64, 1);
    done.record();
    done.wait();
    std::int32_t last = 0;
    std::memcpy(&last, pinned + 60, 4);
    EXPECT_EQ(last, 42);
    cuda::release_pinned(pinned);
}

#ifdef TRAINER_EMULATED
TEST_F(CopyTest, EmulatorFindsMemoryThatChangedTooEarly) {
    std::byte* const pinned = cuda::allocate_pinned(64);
    std::memset(pinned, 1, 64);
    const Tensor there = Tensor::empty(64, DType::u8, Place::cuda());
    cuda::begin_copy(cuda::Direction::to_device, there.raw(), 64, pinned, 64, 64, 1);
    pinned[3] = std::byte{2};
    EXPECT_THROW(cuda::wait(), Error);
    cuda::release_pinned(pinned);
}
#endif

}   // namespace
}   // namespace trainer
