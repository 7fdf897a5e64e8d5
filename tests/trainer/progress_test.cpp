#include "trainer/progress.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trainer {
namespace {

std::string line_of(const Progress::Step& step) {
    testing::internal::CaptureStdout();
    {
        Progress progress(10, 1, false);
        progress.step(step);
    }
    return testing::internal::GetCapturedStdout();
}

TEST(Progress, OneLineAStep) {
    EXPECT_EQ(line_of({2, 1.23456, 2e-4, 0.5, 1234.5, 2}),
              "step 2/10  loss 1.2346  lr 2.00e-04  grad norm 0.500  1234 tokens/s  ETA 00:16\n");
}

TEST(Progress, NumbersThatAreNotFinite) {
    EXPECT_EQ(line_of({2, -std::nan(""), 2e-4, INFINITY, 10, 1}),
              "step 2/10  loss nan  lr 2.00e-04  grad norm inf  10 tokens/s  ETA 00:08\n");
}

}   // namespace
}   // namespace trainer
