#include "data/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "configs/error.h"

namespace trainer {
namespace {

std::vector<std::int32_t> rows_of(const StepPlan& plan, std::int64_t epoch) {
    std::vector<std::int32_t> rows;
    for (std::int64_t i = 0; i < plan.steps_per_epoch(); ++i)
        for (const auto& leaf : plan.step(epoch * plan.steps_per_epoch() + i).leaves)
            rows.insert(rows.end(), leaf.begin(), leaf.end());
    return rows;
}

TEST(Plan, EachEpochIsAnotherPermutation) {
    const StepPlan plan(1001, {32, 8, false, 7});
    std::vector<std::int32_t> all(1001);
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::vector<std::int32_t>> epochs;
    for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
        std::vector<std::int32_t> rows = rows_of(plan, epoch);
        for (const auto& earlier : epochs) EXPECT_NE(rows, earlier);
        EXPECT_NE(rows, all);
        epochs.push_back(rows);
        std::sort(rows.begin(), rows.end());
        EXPECT_EQ(rows, all);
    }
}

TEST(Plan, IsAFunctionOfSeedAndIndex) {
    const StepPlan::Options options{4, 2, false, 1};
    const StepPlan forward(30, options);
    const StepPlan jumping(30, options);
    std::vector<StepPlan::Step> steps;
    for (std::int64_t i = 0; i < 24; ++i) steps.push_back(forward.step(i));
    for (std::int64_t i : {23, 0, 9, 8, 22, 7})   // as a resumed run asks
        EXPECT_EQ(jumping.step(i).leaves, steps[static_cast<std::size_t>(i)].leaves);
    EXPECT_NE(rows_of(StepPlan(30, {4, 2, false, 2}), 0), rows_of(forward, 0));
    // the order of rows belongs to (seed, epoch), not to how they are cut
    EXPECT_EQ(rows_of(StepPlan(30, {7, 3, false, 1}), 1), rows_of(forward, 1));
}

TEST(Plan, FirstPlacesAreTakenByAllRowsAlike) {
    std::vector<int> first(8);
    for (std::uint64_t seed = 0; seed < 4000; ++seed)
        ++first[static_cast<std::size_t>(StepPlan(8, {1, 1, false, seed}).step(0).leaves[0][0])];
    for (int count : first) EXPECT_NEAR(count, 500, 110);   // five standard deviations
}

TEST(Plan, TheLastStepOfAnEpochIsShort) {
    const StepPlan plan(10, {4, 3, false, 1});
    EXPECT_EQ(plan.steps_per_epoch(), 3);
    const auto sizes = [&](std::int64_t step) {
        std::vector<std::size_t> out;
        for (const auto& leaf : plan.step(step).leaves) out.push_back(leaf.size());
        return out;
    };
    EXPECT_EQ(sizes(0), (std::vector<std::size_t>{3, 1}));
    EXPECT_EQ(sizes(1), (std::vector<std::size_t>{3, 1}));
    EXPECT_EQ(sizes(2), (std::vector<std::size_t>{2}));
    EXPECT_EQ(sizes(3), (std::vector<std::size_t>{3, 1}));   // steps never span epochs
    EXPECT_EQ(plan.step(2).epoch, 0);
    EXPECT_EQ(plan.step(3).epoch, 1);
    EXPECT_DOUBLE_EQ(plan.step(0).epoch_after, 0.4);
    EXPECT_DOUBLE_EQ(plan.step(1).epoch_after, 0.8);
    EXPECT_DOUBLE_EQ(plan.step(2).epoch_after, 1.0);
    EXPECT_DOUBLE_EQ(plan.step(3).epoch_after, 1.4);
}

TEST(Plan, DropLastLeavesTheRestOut) {
    const StepPlan plan(10, {4, 4, true, 1});
    EXPECT_EQ(plan.steps_per_epoch(), 2);
    std::vector<std::int32_t> rows = rows_of(plan, 0);
    EXPECT_EQ(rows.size(), 8u);
    std::sort(rows.begin(), rows.end());
    EXPECT_EQ(std::adjacent_find(rows.begin(), rows.end()), rows.end());
    EXPECT_DOUBLE_EQ(plan.step(1).epoch_after, 1.0);
    EXPECT_EQ(plan.step(2).epoch, 1);
    try {
        StepPlan(3, {4, 4, true, 1});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::bad_data);
        EXPECT_STREQ(error.what(),
                     "data: 3 rows give no full step of training.batch 4; lower it or set data.drop_last: false");
    }
}

TEST(Plan, StepsOfPartsOfEpochs) {
    const StepPlan plan(10, {4, 4, false, 1});
    EXPECT_EQ(plan.total_steps(1), 3);
    EXPECT_EQ(plan.total_steps(3), 9);
    EXPECT_EQ(plan.total_steps(0.5), 2);
    EXPECT_EQ(plan.total_steps(1.1), 4);
    EXPECT_EQ(plan.total_steps(1e-9), 1);
}

TEST(Plan, EvaluationGoesInOrder) {
    using Leaves = std::vector<std::vector<std::int32_t>>;
    EXPECT_EQ(leaves_in_order(5, 2), (Leaves{{0, 1}, {2, 3}, {4}}));
    EXPECT_EQ(leaves_in_order(4, 8), (Leaves{{0, 1, 2, 3}}));
    EXPECT_TRUE(leaves_in_order(0, 2).empty());
}

}   // namespace
}   // namespace trainer
