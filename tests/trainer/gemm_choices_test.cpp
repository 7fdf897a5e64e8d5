#include "trainer/gemm_choices.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

using Known = std::map<std::string, int>;

TEST(GemmChoices, AreKeptForTheMachine) {
    const ScratchFolder folder;
    const fs::path file = folder / "cache/trainer/gemm_choices.json";
    {
        GemmChoices first(file, "H200, library 1");
        EXPECT_EQ(first.known(), Known());
        EXPECT_EQ(first.problem(), "");
        EXPECT_FALSE(first.keep("1x2x3", 4));
        EXPECT_FALSE(first.keep("4x5x6", 0));
        GemmChoices other(file, "H200, library 2");
        EXPECT_EQ(other.known(), Known());
        EXPECT_FALSE(other.keep("1x2x3", 7));
    }
    EXPECT_EQ(GemmChoices(file, "H200, library 1").known(), (Known{{"1x2x3", 4}, {"4x5x6", 0}}));
    EXPECT_EQ(GemmChoices(file, "H200, library 2").known(), (Known{{"1x2x3", 7}}));
}

TEST(GemmChoices, WhatIsDamagedIsIgnoredAndReplaced) {
    for (const char* damage :
         {"", "{\"H200\": {\"1x2x3\": 4", "[]", "{\"H200\": 3}", "{\"H200\": {\"1x2x3\": \"four\"}}"}) {
        const ScratchFolder folder;
        put_text(folder / "choices.json", damage);
        GemmChoices choices(folder / "choices.json", "H200");
        EXPECT_EQ(choices.known(), Known()) << damage;
        EXPECT_TRUE(choices.problem().starts_with("choices of earlier runs are ignored and made again: ")) << damage;
        EXPECT_EQ(choices.problem().find('\n'), std::string::npos);
        EXPECT_FALSE(choices.keep("1x2x3", 2));
        EXPECT_EQ(GemmChoices(folder / "choices.json", "H200").known(), (Known{{"1x2x3", 2}})) << damage;
    }
}

TEST(GemmChoices, AFolderThatCannotBeWrittenIsSaidOnce) {
    const ScratchFolder folder;
    put_text(folder / "file", "");
    GemmChoices choices(folder / "file/choices.json", "H200");
    EXPECT_TRUE(choices.keep("1x2x3", 1));
    EXPECT_TRUE(choices.problem().starts_with("the fastest algorithms are not kept for later runs: "));
    EXPECT_FALSE(choices.keep("4x5x6", 1));
    EXPECT_EQ(choices.known(), (Known{{"1x2x3", 1}, {"4x5x6", 1}}));
    GemmChoices homeless("", "H200");
    EXPECT_FALSE(homeless.keep("1x2x3", 1));
}

TEST(GemmChoices, RunsAtTheSameTimeLeaveAWholeFile) {
    const ScratchFolder folder;
    const fs::path file = folder / "choices.json";
    std::vector<std::jthread> runs;
    for (int run = 0; run < 4; ++run)
        runs.emplace_back([&file, run] {
            GemmChoices choices(file, "H200");
            for (int i = 0; i < 8; ++i) choices.keep("run " + std::to_string(run) + " " + std::to_string(i), i);
        });
    runs.clear();
    const GemmChoices after(file, "H200");
    EXPECT_EQ(after.problem(), "");
    EXPECT_FALSE(after.known().empty());
}

}   // namespace
}   // namespace trainer::test
