#include "trainer/memory_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "comm/solo.h"
#include "comm/together.h"
#include "tests/support/thread_ranks.h"
#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

using Words = std::vector<std::string>;
using testing::HasSubstr;

MemoryLeft exactly(std::size_t bytes) { return {bytes, "the test", 0}; }

class MemoryChoice : public testing::Test {
protected:
    // Rows enough for a step of twelve; wide enough that every row shows.
    MemoryChoice() : project_(24, shape()) {}

    static TinyShape shape() {
        TinyShape wide;
        wide.hidden = 128;
        wide.layers = 4;
        wide.intermediate = 512;
        return wide;
    }
    Inputs inputs(const char* recompute, const char* micro_batch, Words more = {}) const {
        more.insert(more.end(), {"training.batch=12", std::string("training.recompute=") + recompute,
                                 std::string("training.micro_batch=") + micro_batch, "checkpoint.every=null"});
        return project_.inputs(more);
    }
    // What must be left for that.
    std::size_t needed(const char* recompute, std::int64_t micro_batch, const Words& more = {}) const {
        const Inputs made = inputs(recompute, std::to_string(micro_batch).c_str(), more);
        return needed_for(plan_memory(made, *make_solo()));
    }
    std::string chosen(Inputs made, std::size_t left) const {
        choose_memory(made, *make_solo(), exactly(left));
        return memory_choice_text(made.recipe);
    }

    TinyProject project_;
};

TEST_F(MemoryChoice, PlentyNeedsNoRecomputation) {
    EXPECT_EQ(chosen(inputs("auto", "auto"), std::size_t{1} << 40), "recompute none, micro_batch 12");
    EXPECT_EQ(chosen(inputs("auto", "5"), std::size_t{1} << 40), "recompute none, micro_batch 5");
    EXPECT_EQ(chosen(inputs("block", "auto"), std::size_t{1} << 40), "recompute block, micro_batch 12");
}

// Every size is found where its plan just fits, and the one below where a byte is missing.
TEST_F(MemoryChoice, TheLargestThatFits) {
    for (const std::int64_t rows : {1, 3, 7, 12}) {
        SCOPED_TRACE(rows);
        const std::size_t bytes = needed("block", rows);
        EXPECT_EQ(chosen(inputs("block", "auto"), bytes), format("recompute block, micro_batch {}", rows));
        if (rows == 1) continue;
        EXPECT_EQ(chosen(inputs("block", "auto"), bytes - 1), format("recompute block, micro_batch {}", rows - 1));
    }
}

// Full fine-tuning with strict sums holds a partial sum for every power of two of leaves: one row at a time may need
// more than several.
TEST_F(MemoryChoice, SumsOverManyLeavesCountToo) {
    const Words full = {"peft=null", "training.determinism=strict", "training.mlp_chunk=16"};
    const std::size_t one = needed("block", 1, full), all = needed("block", 12, full);
    ASSERT_LT(all, one);
    EXPECT_EQ(chosen(inputs("block", "auto", full), all), "recompute block, micro_batch 12");
}

TEST_F(MemoryChoice, TheLeastRecomputationThatFits) {
    const std::map<const char*, std::size_t> of = {
        {"none", needed("none", 6)}, {"norms", needed("norms", 6)}, {"block", needed("block", 6)}};
    ASSERT_LT(of.at("block"), of.at("norms"));
    ASSERT_LT(of.at("norms"), of.at("none"));
    for (const auto& [recompute, bytes] : of)
        EXPECT_EQ(chosen(inputs("auto", "6"), bytes), format("recompute {}, micro_batch 6", recompute));
    EXPECT_EQ(chosen(inputs("auto", "6"), of.at("none") - 1), "recompute norms, micro_batch 6");
}

// Both: the least recomputation with which one row fits, and then as many rows as do.
TEST_F(MemoryChoice, RecomputationBeforeRows) {
    EXPECT_EQ(chosen(inputs("auto", "auto"), needed("none", 2)), "recompute none, micro_batch 2");
    const std::size_t below = needed("none", 1) - 1;
    EXPECT_THAT(chosen(inputs("auto", "auto"), below), HasSubstr("recompute norms, micro_batch "));
}

TEST_F(MemoryChoice, EveryRankHasALeafAndTheSameNumber) {
    const std::size_t plenty = std::size_t{1} << 40, little = needed("none", 2);
    const auto chosen_by = [&](int size, std::size_t of_the_last) {
        std::vector<Inputs> all;   // they share a file
        for (int rank = 0; rank < size; ++rank) all.push_back(inputs("none", "auto"));
        run_ranks(size, [&](Communicator& ranks) {
            const bool last = ranks.rank() == ranks.size() - 1;
            choose_memory(all[static_cast<std::size_t>(ranks.rank())], ranks, exactly(last ? of_the_last : plenty));
        });
        std::set<std::int64_t> found;
        for (const Inputs& one : all) found.insert(one.recipe.training.micro_batch.rows);
        return found;
    };
    for (const int size : {2, 3, 5}) EXPECT_EQ(chosen_by(size, little), std::set<std::int64_t>{2});
    EXPECT_EQ(chosen_by(3, plenty), std::set<std::int64_t>{4});
    EXPECT_EQ(chosen_by(5, plenty), std::set<std::int64_t>{2});   // six leaves
}

Error error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error;
    }
    return {Exit::done, ""};
}

TEST_F(MemoryChoice, NothingFits) {
    const Error error = error_of([&] { chosen(inputs("auto", "auto"), 65 << 20); });
    EXPECT_EQ(error.code(), Exit::out_of_memory);
    EXPECT_THAT(
        error.what(),
        testing::MatchesRegex("out of memory: with recompute: block and micro_batch: 1 the plan needs .*iB "
                              "\\(weights .*, activations .*\\), with the margin .*iB, and the test leaves 65.00 MiB"));
}

// What the recipe says itself is taken without a margin.
TEST_F(MemoryChoice, WhatIsSaidIsRefusedOnlyWhenItCannotBe) {
    const std::size_t total = plan_memory(inputs("none", "6"), *make_solo()).total();
    EXPECT_EQ(chosen(inputs("none", "6"), total), "recompute none, micro_batch 6");
    const Error error = error_of([&] { chosen(inputs("none", "6"), total - 1); });
    EXPECT_EQ(error.code(), Exit::out_of_memory);
    EXPECT_THAT(error.what(), HasSubstr("with recompute: none and micro_batch: 6 the plan needs "));
    EXPECT_THAT(error.what(), testing::Not(HasSubstr("margin")));
}

// The plan of what is chosen is the one that a run of it would make.
TEST_F(MemoryChoice, ThePlanIsOfWhatWasChosen) {
    Inputs made = inputs("auto", "auto");
    const MemoryPlan plan = choose_memory(made, *make_solo(), exactly(needed("norms", 4)));
    EXPECT_EQ(plan.total(), plan_memory(made, *make_solo()).total());
    EXPECT_EQ(static_cast<std::int64_t>(made.plan->step(0).leaves.front().size()),
              made.recipe.training.micro_batch.rows);
}

// Where the system does not tell one boot from another, ranks of one host share its memory; one rank asks nobody.
TEST(MemoryLeftFor, WithoutABootId) {
    const ScratchFolder root;
    std::filesystem::create_directory(root / "proc");
    put_text(root / "proc/meminfo", "MemAvailable: 4096 kB\n");
    EXPECT_EQ(memory_left_for(*make_solo(), root.path()).bytes, std::size_t{4} << 20);
    run_ranks(2,
              [&](Communicator& ranks) { EXPECT_EQ(memory_left_for(ranks, root.path()).bytes, std::size_t{2} << 20); });
}

}   // namespace
}   // namespace trainer::test
