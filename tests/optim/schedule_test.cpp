#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <map>

namespace trainer {
namespace {

struct Golden {
    ScheduleKind kind;
    double warmup;
    std::int64_t total;
    double floor;
    std::map<std::int64_t, double> factors;   // by update
};

// transformers' get_scheduler(kind, num_warmup_steps, num_training_steps); the floor by cosine_with_min_lr.
TEST(Schedule, AgreesWithTransformers) {
    using enum ScheduleKind;
    const std::vector<Golden> goldens = {
        {constant, 3, 10, 0, {{0, 0.0}, {1, 0.3333333333333333}, {2, 0.6666666666666666}, {3, 1.0}, {9, 1.0}}},
        {linear, 0, 5, 0, {{0, 1.0}, {1, 0.8}, {2, 0.6}, {3, 0.4}, {4, 0.2}}},
        {linear,
         8,
         100,
         0,
         {{0, 0.0},
          {1, 0.125},
          {7, 0.875},
          {8, 1.0},
          {9, 0.9891304347826086},
          {50, 0.5434782608695652},
          {99, 0.010869565217391304}}},
        {cosine,
         0,
         7,
         0,
         {{0, 1.0},
          {1, 0.9504844339512095},
          {2, 0.8117449009293668},
          {3, 0.6112604669781572},
          {4, 0.38873953302184283},
          {5, 0.18825509907063326},
          {6, 0.04951556604879048}}},
        {cosine,
         8,
         100,
         0,
         {{0, 0.0},
          {1, 0.125},
          {7, 0.875},
          {8, 1.0},
          {9, 0.999708511183087},
          {50, 0.5680833245481234},
          {99, 0.0002914888169129881}}},
        {cosine,
         8,
         100,
         0.1,
         {{1, 0.125},
          {7, 0.875},
          {8, 1.0},
          {9, 0.9997376600647783},
          {50, 0.611274992093311},
          {99, 0.1002623399352217}}},
        {cosine,
         0,
         5,
         0.25,
         {{0, 1.0},
          {1, 0.9283813728906053},
          {2, 0.7408813728906053},
          {3, 0.5091186271093948},
          {4, 0.32161862710939476}}},
        {cosine, 12, 10, 0, {{0, 0.0}, {5, 0.4166666666666667}, {9, 0.75}}},   // the run ends within the warm-up
        {linear, 12, 10, 0, {{0, 0.0}, {5, 0.4166666666666667}, {9, 0.75}}},
        {cosine, 1, 1, 0, {{0, 0.0}}},
    };
    for (const Golden& golden : goldens)
        for (const auto& [update, factor] : golden.factors)
            EXPECT_NEAR(schedule_factor({golden.kind, golden.warmup, golden.floor}, update, golden.total), factor,
                        1e-15)
                << static_cast<int>(golden.kind) << " W " << golden.warmup << " T " << golden.total << " at " << update;
}

TEST(Schedule, WarmupBelowOneIsAShareOfTheStepsRoundedUp) {
    const auto warmup = [](double share, std::int64_t total) {
        return warmup_updates({ScheduleKind::cosine, share, 0}, total);
    };
    EXPECT_EQ(warmup(0, 100), 0);
    EXPECT_EQ(warmup(0.07, 100), 8);   // 0.07 · 100 is a little above 7 in double, for transformers too
    EXPECT_EQ(warmup(0.03, 100), 3);
    EXPECT_EQ(warmup(0.03, 101), 4);
    EXPECT_EQ(warmup(0.5, 1), 1);
    EXPECT_EQ(warmup(1, 100), 1);
    EXPECT_EQ(warmup(10, 5), 10);
}

TEST(Schedule, TheFloorLiftsWhatFollowsTheWarmup) {
    const ScheduleOptions linear{ScheduleKind::linear, 2, 0.2};
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 0, 6), 0.0);
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 1, 6), 0.5);   // the warm-up starts from 0 all the same
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 2, 6), 1.0);
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 4, 6), 0.5 * 0.8 + 0.2);
    const ScheduleOptions constant{ScheduleKind::constant, 2, 0.2};
    EXPECT_DOUBLE_EQ(schedule_factor(constant, 5, 6), 1.0);
}

}   // namespace
}   // namespace trainer
