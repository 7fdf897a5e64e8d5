// The emulator finds what it is there to find.
#ifdef TRAINER_EMULATED

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/tensor.h"
#include "configs/error.h"
#include "tests/cuda/device.h"
#include "tests/support/cuda_emulator/device.h"

// After what stands for nvcc's own words.
#include "autograd/cuda/device.h"

namespace trainer {
namespace {

class Emulator : public ::testing::Test {
protected:
    void SetUp() override { ASSERT_TRUE(device_is_there()); }
    static Tensor numbers(std::int64_t count) { return Tensor::zeros(count, DType::f32, Place::cuda()); }
};

__global__ void write_own(float* out, int shift) { out[threadIdx.x + static_cast<unsigned>(shift)] = 1; }

TEST_F(Emulator, AKernelThatLeavesItsTensorDies) {
    const Tensor out = numbers(64);
    cuda::launch(Cuda{}, {.blocks = 1, .threads = 64}, write_own, out.data<float>(), 0);
    EXPECT_EQ(out.to_vector<float>()[63], 1);
    EXPECT_DEATH(cuda::launch(Cuda{}, {.blocks = 1, .threads = 64}, write_own, out.data<float>(), 1), "");
}

__global__ void read_four(const float* in, float* out) { *out = cuda::load<4>(in).elements[3]; }

TEST_F(Emulator, AReadFromBetweenWordsDies) {
    const Tensor in = numbers(64), out = numbers(1);
    cuda::launch(Cuda{}, {.blocks = 1, .threads = 32}, read_four, in.data<float>() + 4, out.data<float>());
    EXPECT_DEATH(cuda::launch(Cuda{}, {.blocks = 1, .threads = 32}, read_four, in.data<float>() + 2, out.data<float>()),
                 "");
}

TEST_F(Emulator, AHostThatTouchesTheDeviceDies) {
    const Tensor out = numbers(64);
    EXPECT_DEATH(out.data<float>()[0] = 1, "");
}

// Every thread reads its neighbour's number, with or without waiting for it.
__global__ void neighbours(float* out, bool wait) {
    auto* shared = cuda::shared_memory<float>();
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (wait) __syncthreads();
    out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

std::vector<float> neighbours_in(emulator::Order order, bool wait) {
    const Tensor out = Tensor::zeros(64, DType::f32, Place::cuda());
    emulator::set_order(order);
    cuda::launch(Cuda{}, {.blocks = 1, .threads = 64, .shared_bytes = 64 * sizeof(float)}, neighbours,
                 out.data<float>(), wait);
    emulator::set_order(emulator::Order::ascending);
    return out.to_vector<float>();
}

TEST_F(Emulator, AMissingBarrierShowsInAnotherOrderOfThreads) {
    EXPECT_EQ(neighbours_in(emulator::Order::ascending, true), neighbours_in(emulator::Order::descending, true));
    EXPECT_EQ(neighbours_in(emulator::Order::ascending, true), neighbours_in(emulator::Order::shuffled, true));
    const std::vector<float> ascending = neighbours_in(emulator::Order::ascending, false);
    EXPECT_TRUE(std::isnan(ascending[0])) << "shared memory is not poisoned";
    EXPECT_EQ(neighbours_in(emulator::Order::descending, false)[0], 1);
}

__global__ void half_a_warp(float* out) {
    if (threadIdx.x % 2 == 0) out[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1.0f, 1);
}

TEST_F(Emulator, LanesThatNeverComeAreAnError) {
    const Tensor out = numbers(32);
    EXPECT_THROW(cuda::launch(Cuda{}, {.blocks = 1, .threads = 32}, half_a_warp, out.data<float>()), Error);
}

__global__ void exchange(int* out) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    out[4 * threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, lane, 5);
    out[4 * threadIdx.x + 1] = __shfl_sync(0xFFFFFFFFu, lane, 7);
    out[4 * threadIdx.x + 2] = __shfl_down_sync(0xFFFFFFFFu, lane, 3);
    out[4 * threadIdx.x + 3] = static_cast<int>(__ballot_sync(0xFFFFFFFFu, lane % 3 == 0) >> 1);
}

TEST_F(Emulator, WarpOperationsAreTheDevicesOwn) {
    const Tensor out = Tensor::empty(4 * 64, DType::i32, Place::cuda());
    cuda::launch(Cuda{}, {.blocks = 1, .threads = 64}, exchange, out.data<std::int32_t>());
    const std::vector<std::int32_t> found = out.to_vector<std::int32_t>();
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane += 3) votes |= 1u << lane;
    for (std::size_t thread = 0; thread < 64; ++thread) {
        const int lane = static_cast<int>(thread % 32);
        EXPECT_EQ(found[4 * thread], lane ^ 5);
        EXPECT_EQ(found[4 * thread + 1], 7);
        EXPECT_EQ(found[4 * thread + 2], lane + 3 > 31 ? lane : lane + 3);
        EXPECT_EQ(found[4 * thread + 3], static_cast<int>(votes >> 1));
    }
}

TEST_F(Emulator, MemoryEndsWithAnErrorThatNamesIt) {
    emulator::set_memory(cuda::opened_device()->bytes - cuda::free_bytes() + 4096);
    try {
        const Tensor too_large = numbers(1 << 20);
        FAIL() << "8 MiB were had";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::out_of_memory);
        EXPECT_NE(std::string(error.what()).find("out of the GPU's memory"), std::string::npos) << error.what();
    }
    emulator::set_memory(cuda::opened_device()->bytes);
}

}   // namespace
}   // namespace trainer

#endif
