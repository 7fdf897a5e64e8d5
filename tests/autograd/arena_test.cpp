#include "autograd/arena.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <random>
#include <vector>

namespace trainer {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

// Addresses without memory: slabs one after another, as long as they are not more than `room`.
struct Device {
    std::size_t room = 256 * mib;
    std::size_t held = 0;
    std::uintptr_t next = std::uintptr_t{1} << 40;
    std::map<void*, std::size_t> slabs;
};
Device device;

void* fresh(std::size_t bytes) {
    if (device.held + bytes > device.room) return nullptr;
    void* const slab = reinterpret_cast<void*>(device.next);
    device.next += bytes + 4096;
    device.held += bytes;
    device.slabs[slab] = bytes;
    return slab;
}
void free_slab(void* slab) {
    device.held -= device.slabs.at(slab);
    device.slabs.erase(slab);
}

class ArenaTest : public testing::Test {
protected:
    void SetUp() override { device = Device(); }
    Arena arena{{fresh, free_slab}};
};

std::byte* at(void* block) { return static_cast<std::byte*>(block); }

TEST_F(ArenaTest, BlocksNeverOverlapAndLieInSlabs) {
    std::mt19937 random(5);
    std::map<std::byte*, std::size_t> taken;
    std::vector<std::byte*> order;
    for (int i = 0; i < 20000; ++i) {
        if (order.empty() || random() % 5 < 3) {
            const std::size_t bytes = std::size_t{1} << random() % 20 | random() % 1000;
            auto* const block = at(arena.take(bytes));
            if (!block) continue;
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % Arena::alignment, 0u);
            const auto after = taken.lower_bound(block);
            if (after != taken.end()) {
                ASSERT_LE(block + bytes, after->first);
            }
            if (after != taken.begin()) {
                ASSERT_LE(std::prev(after)->first + std::prev(after)->second, block);
            }
            const auto slab = std::prev(device.slabs.upper_bound(block));
            ASSERT_LE(block + bytes, at(slab->first) + slab->second);
            taken[block] = bytes;
            order.push_back(block);
        } else {
            const std::size_t which = random() % order.size();
            arena.give(order[which]);
            taken.erase(order[which]);
            order[which] = order.back();
            order.pop_back();
        }
    }
    for (std::byte* const block : order) arena.give(block);
    arena.release();
    EXPECT_EQ(device.held, 0u);
    EXPECT_EQ(arena.held(), 0u);
}

TEST_F(ArenaTest, NeighboursBecomeOneBlockAgain) {
    arena.reserve(96 * mib);
    std::vector<void*> parts;
    for (int i = 0; i < 96; ++i) parts.push_back(arena.take(mib));
    for (const int i : {1, 0, 2})   // from all sides
        for (int part = i; part < 96; part += 3) arena.give(parts[static_cast<std::size_t>(part)]);
    EXPECT_NE(arena.take(96 * mib), nullptr);
    EXPECT_EQ(device.held, 96 * mib);
}

TEST_F(ArenaTest, TheSmallestHoleThatFitsIsTaken) {
    arena.reserve(64 * mib);
    void* const small = arena.take(2 * mib);
    void* const between = arena.take(mib);
    arena.give(small);
    EXPECT_EQ(arena.take(2 * mib), small);
    EXPECT_NE(between, nullptr);
}

TEST_F(ArenaTest, ReservesWhatCanBeHad) {
    arena.reserve(1024 * mib);
    EXPECT_GT(arena.held(), 240 * mib);
    EXPECT_LE(arena.held(), 256 * mib);
    arena.reserve(100 * mib);   // there already
    EXPECT_LE(device.slabs.size(), 1u);
}

TEST_F(ArenaTest, EmptySlabsMakeRoomForALargerOne) {
    std::vector<void*> small;
    for (int i = 0; i < 7; ++i) small.push_back(arena.take(32 * mib));
    EXPECT_EQ(arena.take(64 * mib), nullptr);
    for (void* const block : small) arena.give(block);
    EXPECT_NE(arena.take(200 * mib), nullptr);
}

TEST_F(ArenaTest, TheLastBytesAreHadToo) {
    device.room = 40 * mib;
    EXPECT_NE(arena.take(32 * mib), nullptr);
    EXPECT_NE(arena.take(6 * mib), nullptr);   // less than a slab mostly is
    EXPECT_EQ(arena.take(4 * mib), nullptr);
}

TEST_F(ArenaTest, ExactBlocksComeAndGoOnTheirOwn) {
    arena.keep_exact(true);
    void* const block = arena.take(100);
    EXPECT_EQ(device.slabs.at(block), 100u);
    arena.give(block);
    EXPECT_EQ(device.held, 0u);
}

}   // namespace
}   // namespace trainer
