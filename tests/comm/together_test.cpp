#include "comm/together.h"

#include <gtest/gtest.h>

#include <mutex>

#include "comm/collective.h"
#include "comm/solo.h"
#include "tests/support/thread_ranks.h"

namespace trainer::test {
namespace {

struct Thrown {
    Exit code;
    std::string message;
};

// What the ranks throw, which must be the same at all.
Thrown thrown_by(int size, const std::function<void(int)>& work) {
    std::vector<Thrown> all;
    std::mutex mutex;
    run_ranks(size, [&](Communicator& ranks) {
        try {
            together(ranks, [&] { work(ranks.rank()); });
        } catch (const AgreedError& error) {
            const std::lock_guard lock(mutex);
            all.push_back({error.code(), error.what()});
        }
    });
    EXPECT_EQ(all.size(), static_cast<std::size_t>(size));
    for (const Thrown& one : all) EXPECT_EQ(one.message, all[0].message);
    return all.at(0);
}

TEST(Together, AnErrorOfOneIsThatOfAll) {
    const Thrown thrown = thrown_by(4, [](int rank) {
        if (rank == 2) fail(Exit::no_input, "there is no file x");
    });
    EXPECT_EQ(thrown.code, Exit::no_input);
    EXPECT_EQ(thrown.message, "rank 2: there is no file x");
}

TEST(Together, OfSeveralTheFirstRankDecides) {
    const Thrown thrown = thrown_by(3, [](int rank) {
        if (rank > 0) fail(rank == 1 ? Exit::io : Exit::bad_data, "bad {}", rank);
    });
    EXPECT_EQ(thrown.code, Exit::io);
    EXPECT_EQ(thrown.message, "rank 1: bad 1\nrank 2: bad 2");
}

TEST(Together, WhatAllSayIsSaidOnce) {
    const Thrown thrown = thrown_by(3, [](int) { fail(Exit::bad_recipe, "line 3\nline 5"); });
    EXPECT_EQ(thrown.code, Exit::bad_recipe);
    EXPECT_EQ(thrown.message, "line 3\nline 5");
}

TEST(Together, BugsAreAgreedToo) {
    EXPECT_EQ(thrown_by(2, [](int rank) { rank == 0 ? throw std::bad_alloc() : void(); }).code, Exit::out_of_memory);
    EXPECT_EQ(thrown_by(2, [](int rank) { rank == 1 ? throw std::runtime_error("x") : void(); }).code, Exit::internal);
}

TEST(Together, OneRankThrowsWhatItIs) {
    const auto solo = make_solo();
    EXPECT_THROW(together(*solo, [] { throw std::runtime_error("x"); }), std::runtime_error);
    int ran = 0;
    together(*solo, [&] { ++ran; });
    EXPECT_EQ(ran, 1);
}

TEST(Collective, TextsAndValuesOfEveryRank) {
    for (const int size : {1, 2, 5})
        run_ranks(size, [&](Communicator& ranks) {
            const auto texts = gather_texts(ranks, std::string(static_cast<std::size_t>(ranks.rank() * 3), 'x'));
            ASSERT_EQ(texts.size(), static_cast<std::size_t>(size));
            for (int r = 0; r < size; ++r)
                EXPECT_EQ(texts[static_cast<std::size_t>(r)].size(), 3u * static_cast<unsigned>(r));
            const std::vector<double> mine(static_cast<std::size_t>(ranks.rank()), 0.5 + ranks.rank());
            const auto values = gather_values(ranks, mine);
            EXPECT_EQ(values.size(), static_cast<std::size_t>(size * (size - 1) / 2));
            std::vector<std::uint64_t> counts;
            for (int r = 0; r < size; ++r) counts.push_back(static_cast<std::uint64_t>(r));
            EXPECT_EQ(gather_values(ranks, mine, counts), values);
            if (size > 1) {
                EXPECT_EQ(values.back(), 0.5 + size - 1);
            }
            EXPECT_EQ(sum(ranks, ranks.rank() + 1), size * (size + 1) / 2);
            EXPECT_TRUE(any(ranks, ranks.rank() == size - 1));
            EXPECT_FALSE(any(ranks, false));
        });
}

}   // namespace
}   // namespace trainer::test
