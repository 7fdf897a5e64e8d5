#include "trainer/output_folder.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

TEST(OutputFolder, ProvingItLeavesNothing) {
    const ScratchFolder folder;
    const std::string wanted = (folder / "a/b/c/").string();
    OutputFolder output(wanted);
    EXPECT_FALSE(fs::exists(folder / "a"));
    output.open();
    EXPECT_TRUE(fs::is_directory(wanted));
}

TEST(OutputFolder, WithoutKeepWhatWasMadeIsRemoved) {
    const ScratchFolder folder;
    put_text(folder / "mine/notes.txt", "x");
    fs::create_directory(folder / "empty");
    for (const std::string name : {"mine/a/b", "empty"}) {
        OutputFolder output((folder / name).string());
        output.open();
        output.write("recipe.yaml", "a");
        fs::create_directory(output.path() / "checkpoint-1");
    }
    EXPECT_TRUE(fs::exists(folder / "mine/notes.txt"));
    EXPECT_FALSE(fs::exists(folder / "mine/a"));
    EXPECT_TRUE(fs::is_empty(folder / "empty"));
}

// Killed between its lock and its first file.
TEST(OutputFolder, LeftoversAloneAreNoRun) {
    const ScratchFolder folder;
    for (const auto use : {OutputFolder::Use::fresh, OutputFolder::Use::resume}) {
        put_text(folder / "a/.lock", "");
        put_text(folder / "a/.tmp-recipe.yaml.x1y2z3", "x");
        OutputFolder output((folder / "a").string(), use);
        output.open();
        EXPECT_FALSE(fs::exists(folder / "a/.tmp-recipe.yaml.x1y2z3"));
    }
    put_text(folder / "a/notes.txt", "the user's");
    EXPECT_ANY_THROW(OutputFolder((folder / "a").string()));
    EXPECT_ANY_THROW(OutputFolder((folder / "a").string(), OutputFolder::Use::resume));
}

TEST(OutputFolder, KeepKeeps) {
    const ScratchFolder folder;
    {
        OutputFolder output((folder / "a").string());
        output.open();
        output.write("recipe.yaml", "text");
        output.keep();
    }
    EXPECT_EQ(get_text(folder / "a/recipe.yaml"), "text");
}

// Nothing of another program is removed when the folder was only looked at.
TEST(OutputFolder, WhatOthersWroteStays) {
    const ScratchFolder folder;
    fs::create_directory(folder / "a");
    {
        const OutputFolder output((folder / "a").string());
        put_text(folder / "a/theirs", "x");
    }
    EXPECT_TRUE(fs::exists(folder / "a/theirs"));
}

// Two runs started side by side both found their common parent missing.
TEST(OutputFolder, TheRunBesideIsNotRemoved) {
    const ScratchFolder folder;
    {
        OutputFolder first((folder / "runs/a").string()), second((folder / "runs/b").string());
        first.open();
        second.open();
        second.write("metrics.jsonl", "{}");
        second.keep();
    }
    EXPECT_FALSE(fs::exists(folder / "runs/a"));
    EXPECT_TRUE(fs::exists(folder / "runs/b/metrics.jsonl"));
}

}   // namespace
}   // namespace trainer::test
