#include "autograd/random.h"

#include <gtest/gtest.h>

#include <bit>
#include <set>

namespace trainer {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers published with the generator (Random123, kat_vectors, philox 4x32 10).
TEST(Random, PhiloxGivesTheKnownAnswers) {
    EXPECT_EQ(philox(0, {0, 0, 0, 0}), (Words{0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}));
    EXPECT_EQ(philox(~0ull, {~0u, ~0u, ~0u, ~0u}), (Words{0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}));
    EXPECT_EQ(philox(0x299F31D0A4093822ull, {0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}),
              (Words{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}));
}

TEST(Random, UniformIsInZeroToOne) {
    EXPECT_EQ(uniform(0), 0.0f);
    EXPECT_LT(uniform(~0u), 1.0f);
    double sum = 0;
    for (std::uint32_t i = 0; i < 10000; ++i)
        for (std::uint32_t word : philox(1, {i, 0, 0, 0})) sum += static_cast<double>(uniform(word));
    EXPECT_NEAR(sum / 40000, 0.5, 0.006);   // four standard deviations
}

TEST(Random, MixIsTheFinaliserOfSplitMix64) {
    EXPECT_EQ(mix(0), 0xE220A8397B1DCDAFull);   // the first two outputs of SplitMix64 seeded with 0
    EXPECT_EQ(mix(0x9E3779B97F4A7C15ull), 0x6E789E6AA1B965F4ull);
}

TEST(Random, KeysDependOnEveryPartAndTheirOrder) {
    std::set<std::uint64_t> keys;
    for (std::uint64_t seed : {0, 1, 2})
        for (std::uint64_t epoch : {0, 1, 2})
            for (std::uint64_t row : {0, 1, 2}) keys.insert(random_key(seed, epoch, row));
    EXPECT_EQ(keys.size(), 27u);
    EXPECT_NE(random_key(1, 0), random_key(1));
}

TEST(Random, OneChangedBitChangesHalfOfTheKey) {
    int changed = 0;
    for (int bit = 0; bit < 64; ++bit)
        changed += std::popcount(random_key(7, 5) ^ random_key(7, 5 ^ (std::uint64_t{1} << bit)));
    EXPECT_NEAR(changed / 64.0, 32, 2);
}

TEST(Random, SitesTellModuleAndOperationApart) {
    const std::set<std::uint64_t> sites{site_key("a.b", "c"), site_key("a", "b.c"), site_key("a", ".bc"),
                                        site_key("ab", "c"),  site_key("a", "bc"),  site_key("", "abc")};
    EXPECT_EQ(sites.size(), 6u);
}

}   // namespace
}   // namespace trainer
