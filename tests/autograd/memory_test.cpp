#include "autograd/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <thread>
#include <vector>

#include "autograd/tensor.h"
#include "configs/error.h"

namespace trainer {
namespace {

std::size_t bytes_of(const MemoryUse& use, Purpose purpose) { return use.bytes[static_cast<std::size_t>(purpose)]; }
std::size_t peak_of(const MemoryUse& use, Purpose purpose) { return use.peak_bytes[static_cast<std::size_t>(purpose)]; }

class Memory : public ::testing::TestWithParam<Place> {};

TEST_P(Memory, IsCountedUnderThePurposeOfItsTime) {
    const Place place = GetParam();
    const MemoryUse before = memory_use(place);
    EXPECT_EQ(current_purpose(), Purpose::activations);
    std::unique_ptr<Storage> weights;
    {
        const PurposeScope scope(Purpose::weights);
        weights = std::make_unique<Storage>(1024, place);
        const PurposeScope inner(Purpose::workspace);
        EXPECT_EQ(current_purpose(), Purpose::workspace);
        const Storage workspace(64, place);
        EXPECT_EQ(bytes_of(memory_use(place), Purpose::workspace) - bytes_of(before, Purpose::workspace), 64u);
    }
    EXPECT_EQ(current_purpose(), Purpose::activations);
    const MemoryUse now = memory_use(place);
    EXPECT_EQ(bytes_of(now, Purpose::weights) - bytes_of(before, Purpose::weights), 1024u);
    EXPECT_EQ(bytes_of(now, Purpose::workspace), bytes_of(before, Purpose::workspace));
    weights.reset();   // under another purpose than at its making
    EXPECT_EQ(memory_use(place).total(), before.total());
}

TEST_P(Memory, PurposesBelongToTheThread) {
    const PurposeScope scope(Purpose::optimizer);
    Purpose seen = Purpose::optimizer;
    std::thread([&] { seen = current_purpose(); }).join();
    EXPECT_EQ(seen, Purpose::activations);
}

TEST_P(Memory, PeakIsTheMomentOfTheHighestTotal) {
    const Place place = GetParam();
    reset_memory_peak(place);
    const MemoryUse before = memory_use(place);
    EXPECT_EQ(before.peak_total(), before.total());
    {
        const Storage activations(4096, place);
        const PurposeScope scope(Purpose::gradients);
        const Storage gradients(1024, place);
    }
    {
        const PurposeScope scope(Purpose::gradients);
        const Storage gradients(4096, place);   // more than before for this purpose, less in all
    }
    const MemoryUse after = memory_use(place);
    EXPECT_EQ(after.total(), before.total());
    EXPECT_EQ(after.peak_total() - before.total(), 5120u);
    EXPECT_EQ(peak_of(after, Purpose::activations) - bytes_of(before, Purpose::activations), 4096u);
    EXPECT_EQ(peak_of(after, Purpose::gradients) - bytes_of(before, Purpose::gradients), 1024u);
    reset_memory_peak(place);
    EXPECT_EQ(memory_use(place).peak_total(), before.total());
}

TEST_P(Memory, BlocksAreAtMostAnEighthLargerThanAskedFor) {
    const Place place = GetParam();
    const std::size_t before = memory_use(place).total();
    for (std::size_t bytes : {1u, 64u, 65u, 511u, 512u, 513u, 1000u, 4097u, 99999u, 1048576u, 1048577u, 5000001u}) {
        const Storage storage(bytes, place);
        const std::size_t used = memory_use(place).total() - before;
        EXPECT_GE(used, bytes);
        EXPECT_LE(used, bytes + std::max<std::size_t>(63, bytes / 8)) << bytes;
        EXPECT_EQ(storage.bytes(), bytes);
        EXPECT_EQ(storage.data() == nullptr, place.is_meta());
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(storage.data()) % 64, 0u);
    }
    const Storage nothing(0, place);
    EXPECT_EQ(nothing.data(), nullptr);
    EXPECT_EQ(memory_use(place).total(), before);
}

INSTANTIATE_TEST_SUITE_P(Places, Memory, ::testing::Values(Place::cpu(), Place::meta()),
                         [](const auto& place) { return place.param.is_meta() ? "meta" : "cpu"; });

TEST(MemoryPool, AFreedBlockIsUsedAgain) {
    void* first = nullptr;
    {
        const Storage storage(12345, Place::cpu());
        first = storage.data();
    }
    const Storage again(12300, Place::cpu());   // the same size class
    EXPECT_EQ(again.data(), first);
}

TEST(MemoryPool, LiveBlocksDoNotOverlap) {
    std::vector<std::unique_ptr<Storage>> blocks;
    for (int i = 0; i < 40; ++i) {
        blocks.push_back(std::make_unique<Storage>(static_cast<std::size_t>(1 + 97 * i), Place::cpu()));
        std::memset(blocks.back()->data(), i, blocks.back()->bytes());
        if (i % 3 == 0) blocks.erase(blocks.begin() + i / 6);
    }
    for (const auto& block : blocks) {
        const auto* bytes = static_cast<const unsigned char*>(block->data());
        for (std::size_t i = 1; i < block->bytes(); ++i) ASSERT_EQ(bytes[i], bytes[0]);
    }
}

TEST(MemoryPool, ThreadsShareIt) {
    const std::size_t before = memory_use(Place::cpu()).total();
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([t] {
            for (int i = 1; i < 500; ++i) {
                const Storage storage(static_cast<std::size_t>(64 * (1 + (i * (t + 1)) % 7)), Place::cpu());
                std::memset(storage.data(), t, storage.bytes());
                const auto* bytes = static_cast<const unsigned char*>(storage.data());
                ASSERT_EQ(bytes[storage.bytes() - 1], t);
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(memory_use(Place::cpu()).total(), before);
}

TEST(MemoryPool, WhatCannotBeHadIsOutOfMemory) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's allocator stops the program instead";
#endif
    const MemoryUse before = memory_use(Place::cpu());
    const PurposeScope scope(Purpose::optimizer);
    try {
        const Storage storage(std::size_t{1} << 60, Place::cpu());
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::out_of_memory);
        EXPECT_NE(std::string(error.what()).find("optimizer"), std::string::npos);
        EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos);
    }
    EXPECT_EQ(memory_use(Place::cpu()).total(), before.total());
    const Storage meta(std::size_t{1} << 60, Place::meta());   // a plan may be larger than the machine
    EXPECT_EQ(meta.data(), nullptr);
}

TEST(MemoryPool, PoisonedMemoryIsNotANumber) {
    poison_new_memory(true);
    { const Tensor used = Tensor::zeros(100, DType::f32); }
    const Tensor f32 = Tensor::empty(100, DType::f32);
    const Tensor half = Tensor::empty(100, DType::bf16);
    poison_new_memory(false);
    for (float value : f32.to_vector<float>()) EXPECT_TRUE(value != value);
    for (bf16 value : half.to_vector<bf16>()) EXPECT_TRUE(static_cast<float>(value) != static_cast<float>(value));
}

TEST(MemoryPool, ReleasedCacheLeavesLiveBlocksAlone) {
    const Tensor live = Tensor::from<float>(std::vector<float>{1, 2, 3}, 3);
    { const Storage freed(1 << 23, Place::cpu()); }
    release_cached_memory();
    EXPECT_EQ(live.to_vector<float>(), (std::vector<float>{1, 2, 3}));
}

// Blocks that are free do not keep others from being had; without a limit both would be held.
TEST(PoolLimit, FreeBlocksAreGivenBackFirst) {
    constexpr std::int64_t bytes = 64 << 20;
    const auto resident = [] {
        std::ifstream file("/proc/self/statm");
        std::size_t size = 0, pages = 0;
        file >> size >> pages;
        return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    };
    const auto grown_by = [&](std::size_t limit) {
        release_cached_memory();
        limit_pool(limit);
        const std::size_t before = resident();
        Tensor::zeros(bytes, DType::u8);   // is free and cached now
        const Tensor larger = Tensor::zeros(2 * bytes, DType::u8);
        const std::size_t grown = resident() - before;
        limit_pool(std::numeric_limits<std::size_t>::max());
        return grown;
    };
    EXPECT_GT(grown_by(std::numeric_limits<std::size_t>::max()), 3 * bytes - (16u << 20));
    EXPECT_LT(grown_by(0), 2 * bytes + (16u << 20));
    release_cached_memory();
}

}   // namespace
}   // namespace trainer
