#include "optim/loss_scaler.h"

#include <gtest/gtest.h>

#include <vector>

namespace trainer::test {
namespace {

struct Steps {
    int count;
    bool finite;
};

// The step, from 1, at which the scale changed, and to what.
struct Change {
    std::int64_t step;
    double scale;
    friend bool operator==(const Change&, const Change&) = default;
};

std::vector<Change> changes_of(LossScaler& scaler, const std::vector<Steps>& run) {
    std::vector<Change> changes;
    std::int64_t step = 0;
    for (const Steps& steps : run)
        for (int i = 0; i < steps.count; ++i) {
            const double before = scaler.scale;
            scaler.update(steps.finite);
            ++step;
            if (scaler.scale != before) changes.push_back({step, scaler.scale});
        }
    return changes;
}

// What torch 2.13's GradScaler did with these steps; tests/parity/loss_scaler.py runs it.
TEST(LossScaler, DoesWhatGradScalerDoes) {
    LossScaler scaler;
    EXPECT_EQ(scaler.scale, 65536);
    const std::vector<Change> changes = changes_of(
        scaler, {{3, false}, {1999, true}, {1, false}, {4000, true}, {1, false}, {1, true}, {1, false}, {2001, true}});
    EXPECT_EQ(changes, (std::vector<Change>{{1, 32768},
                                            {2, 16384},
                                            {3, 8192},
                                            {2003, 4096},
                                            {4003, 8192},
                                            {6003, 16384},
                                            {6004, 8192},
                                            {6006, 4096},
                                            {8006, 8192}}));
    EXPECT_EQ(scaler.finite_steps, 1);
}

TEST(LossScaler, DoesNotGrowBeyondF32) {
    LossScaler scaler{.scale = 0x1p127};
    EXPECT_EQ(changes_of(scaler, {{2000, true}}), (std::vector<Change>{}));
    EXPECT_EQ(scaler.finite_steps, 0);
}

TEST(LossScaler, HelpsDownToOne) {
    LossScaler scaler{.scale = 4};
    EXPECT_TRUE(scaler.can_help());
    scaler.update(false);
    EXPECT_TRUE(scaler.can_help());
    scaler.update(false);
    EXPECT_FALSE(scaler.can_help());
    scaler.update(false);
    EXPECT_EQ(scaler.scale, 0.5);   // and goes on, as there
    EXPECT_FALSE(scaler.can_help());
}

TEST(LossScaler, IsWhatItWasAfterBeingSaved) {
    LossScaler scaler;
    changes_of(scaler, {{1, false}, {7, true}});
    LossScaler again = read_fields<LossScaler>(write_fields(scaler));
    EXPECT_EQ(again.scale, 32768);
    EXPECT_EQ(again.finite_steps, 7);
    EXPECT_EQ(changes_of(again, {{1993, true}}), (std::vector<Change>{{1993, 65536}}));
}

}   // namespace
}   // namespace trainer::test
