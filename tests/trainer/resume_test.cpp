#include "trainer/resume.h"

#include <gtest/gtest.h>

#include "comm/solo.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

// What a run began with is that of the newest checkpoint that can say it.
TEST(RecordedMicroBatch, PassesOverCheckpointsWithoutAReadableRecipe) {
    const ScratchFolder folder;
    const auto recorded = [&] { return recorded_micro_batch(*make_solo(), folder.path()); };
    const auto put = [&](const char* checkpoint, const std::string& text) {
        fs::create_directory(folder / checkpoint);
        put_text(folder / checkpoint / "recipe.yaml", text);
    };
    EXPECT_EQ(recorded(), std::nullopt);
    fs::create_directory(folder / "checkpoint-40");
    EXPECT_EQ(recorded(), std::nullopt);
    put("checkpoint-30", "training: {micro_batch: 2");
    put("checkpoint-20", "[]\n");
    put("checkpoint-9", "training: {micro_batch: 7}\n");
    EXPECT_EQ(recorded(), 7);
    put("checkpoint-10", "training: {micro_batch: 3}\n");
    EXPECT_EQ(recorded(), 3);
    put_text(folder / "recipe.yaml", "training: {micro_batch: 5}\n");
    EXPECT_EQ(recorded(), 5);
}

}   // namespace
}   // namespace trainer::test
