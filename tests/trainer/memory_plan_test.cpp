#include "trainer/memory_plan.h"

#include <gtest/gtest.h>

#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

// The plan is never too small and at most a tenth too large.
void expect_true_plan(TinyProject& project, const std::vector<std::string>& overrides, double most = 1.1) {
    const FinishedRun run = project.run(overrides);
    const auto measured = static_cast<double>(run.outcome.memory.peak_total());
    const auto planned = static_cast<double>(run.planned_bytes);
    std::string text;
    for (const std::string& word : overrides) text += word + " ";
    EXPECT_GE(planned, measured) << text;
    EXPECT_LE(planned, most * measured) << text;
}

TEST(MemoryPlan, HoldsForTheTinyModel) {
    TinyProject project;
    for (const char* extra : {"training.precision=f32", "training.precision=bf16", "training.recompute=block",
                              "training.seed=1", "training.seed=2", "training.seed=3", "peft=null",
                              "training.micro_batch=1", "training.determinism=repeatable"})
        expect_true_plan(project, {"training.steps=8", extra});
    // the plan counts every token as trained on, which shows in a model of two layers
    expect_true_plan(project, {"training.steps=8", "data.packing=true"}, 1.2);
}

TEST(MemoryPlan, HoldsForAMediumModel) {
    TinyShape shape;
    shape.hidden = 256;
    shape.layers = 4;
    shape.heads = 4;
    shape.intermediate = 768;
    shape.vocabulary = 4096;
    shape.tied = false;
    TinyProject project(16, shape);
    for (const char* extra : {"training.precision=f32", "training.precision=bf16", "training.recompute=block",
                              "data.packing=true", "peft=null"})
        expect_true_plan(project, {"training.steps=4", extra});
}

TEST(MemoryPlan, BytesInWords) {
    EXPECT_EQ(bytes_text(0), "0 B");
    EXPECT_EQ(bytes_text(1023), "1023 B");
    EXPECT_EQ(bytes_text(1536), "1.50 KiB");
    EXPECT_EQ(bytes_text(std::size_t{5} << 30), "5.00 GiB");
}

}   // namespace
}   // namespace trainer::test
