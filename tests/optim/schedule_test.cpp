#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "configs/yaml.h"

namespace trainer {
namespace {

struct Golden {
    ScheduleKind kind;
    double warmup;
    std::int64_t total;
    double floor;
    std::map<std::int64_t, double> factors;   // by update
};

ScheduleOptions options(ScheduleKind kind, double warmup, double floor) {
    ScheduleOptions made;
    made.name = kind;
    made.warmup = warmup;
    made.min_lr_ratio = floor;
    return made;
}

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
            EXPECT_NEAR(schedule_factor(options(golden.kind, golden.warmup, golden.floor), update, golden.total),
                        factor, 1e-15)
                << static_cast<int>(golden.kind) << " W " << golden.warmup << " T " << golden.total << " at " << update;
}

// The same for schedules with keys of their own, as recipes write them.
TEST(Schedule, KeysOfTheirOwnAgreeWithTransformers) {
    const struct {
        const char* recipe;
        std::int64_t total;
        std::map<std::int64_t, double> factors;
    } goldens[] = {
        {"{name: cosine, warmup: 4, cycles: 3, min_lr_ratio: 0}",
         24,
         {{0, 0.0},
          {3, 0.75},
          {4, 1.0},
          {5, 0.9455032620941839},
          {10, 0.02447174185242329},
          {11, 0.9938441702975689},
          {17, 0.006155829702431115},
          {18, 0.9755282581475769},
          {23, 0.054496737905816384}}},
        {"{name: polynomial, warmup: 2, power: 2.5, min_lr_ratio: 0.01}",
         12,
         {{1, 0.5}, {2, 1.0}, {3, 0.7707491367067071}, {7, 0.18500892834367053}, {11, 0.013130654883566694}}},
        {"{name: inverse_sqrt, warmup: 4}",
         40,
         {{2, 0.5}, {4, 1.0}, {5, 0.8944271909999159}, {16, 0.5}, {39, 0.32025630761017426}}},
        {"{name: inverse_sqrt, warmup: 4, timescale: 9}",
         40,
         {{2, 0.5}, {4, 1.0}, {5, 0.9486832980505138}, {16, 0.6546536707079771}, {39, 0.4522670168666454}}},
        {"{name: inverse_sqrt, warmup: 0}", 40, {{0, 1.0}, {1, 0.9999500037496877}, {39, 0.9980556852758495}}},
        {"{name: wsd, warmup: 3, decay: 5, min_lr_ratio: 0}",
         20,
         {{1, 0.3333333333333333}, {3, 1.0}, {14, 1.0}, {15, 1.0}, {16, 0.8}, {19, 0.19999999999999996}}},
        {"{name: wsd, warmup: 3, decay: 0.25, decay_shape: cosine, min_lr_ratio: 0}",
         20,
         {{1, 0.3333333333333333}, {3, 1.0}, {15, 1.0}, {16, 0.9045084971874737}, {19, 0.09549150281252633}}},
        {"{name: wsd, warmup: 0, decay: 5, decay_shape: 1-sqrt, min_lr_ratio: 0.2}",
         20,
         {{0, 1.0}, {15, 1.0}, {16, 0.6422291236000337}, {19, 0.28445824720006735}}},
    };
    for (const auto& [recipe, total, factors] : goldens)
        for (const auto& [update, factor] : factors)
            EXPECT_NEAR(schedule_factor(read_fields<ScheduleOptions>(parse_yaml(recipe, "r")), update, total), factor,
                        2e-15)
                << recipe << " at " << update;
}

// torch.optim.lr_scheduler.ReduceLROnPlateau(factor=0.5, patience=1, threshold=0.01, cooldown=1, min_lr=0.2·lr, eps=0).
TEST(Schedule, PlateauAgreesWithTorch) {
    const auto read = read_fields<ScheduleOptions>(
        parse_yaml("{name: reduce_on_plateau, warmup: 2, factor: 0.5, patience: 1, threshold: 0.01, cooldown: 1, "
                   "min_lr_ratio: 0.2}",
                   "r"));
    const double losses[] = {3, 2, 1.99, 1.985, 1.5, 1.6, 1.7, std::numeric_limits<double>::quiet_NaN(), 1.6, 1.6, 1.6};
    const double factors[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2};
    PlateauState state;
    for (std::size_t i = 0; i < std::size(losses); ++i) {
        note_evaluation(read, losses[i], state);
        EXPECT_EQ(schedule_factor(read, 2, 10, state), factors[i]) << i;
    }
    EXPECT_EQ(schedule_factor(read, 1, 10, state), 0.5);   // the warm-up does not know of it
    PlateauState other;
    note_evaluation({}, 1.0, other);
    EXPECT_FALSE(other.lowest_loss);
}

TEST(Schedule, WarmupBelowOneIsAShareOfTheStepsRoundedUp) {
    const auto warmup = [](double share, std::int64_t total) {
        return warmup_updates(options(ScheduleKind::cosine, share, 0), total);
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
    const ScheduleOptions linear = options(ScheduleKind::linear, 2, 0.2);
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 0, 6), 0.0);
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 1, 6), 0.5);   // the warm-up starts from 0 all the same
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 2, 6), 1.0);
    EXPECT_DOUBLE_EQ(schedule_factor(linear, 4, 6), 0.5 * 0.8 + 0.2);
    const ScheduleOptions constant = options(ScheduleKind::constant, 2, 0.2);
    EXPECT_DOUBLE_EQ(schedule_factor(constant, 5, 6), 1.0);
}

}   // namespace
}   // namespace trainer
