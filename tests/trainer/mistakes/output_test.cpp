// Output folders that cannot be used.
#include <gtest/gtest.h>

#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

TEST(Mistakes, Output) {
    const auto locked = [](const std::string& output) {
        return [=](const fs::path& folder) {
            fs::create_directories(folder / "locked");
            fs::permissions(folder / "locked", fs::perms(0555));
            with_recipe("output: out", "output: " + output)(folder);
        };
    };
    check_mistakes({
        {"holds a run", run_recipe, with_file("out/metrics.jsonl", "{}\n"), 73,
         "error: output: out already holds a run; choose another folder or remove it"},
        {"holds an adapter",
         {"check", "recipe.yaml"},
         with_file("out/adapter_model.safetensors", "x"),
         73,
         "error: output: out already holds a run; choose another folder or remove it"},
        {"not empty", run_recipe, with_file("out/notes.txt", "mine"), 73,
         "error: output: out is not empty; choose a new or an empty folder"},
        {"a file", run_recipe, with_file("out", "mine"), 73, "error: output: out is there already and is no folder"},
        {"below a file", run_recipe, with_recipe("output: out", "output: train.jsonl/out"), 73,
         "error: output: train.jsonl/out cannot be created: Not a directory"},
        {"name too long", run_recipe, with_recipe("output: out", "output: " + std::string(300, 'x')), 73,
         "error: output: " + std::string(300, 'x') + ": File name too long"},
        {"in a folder that is not ours", run_recipe, locked("locked/a/b"), 73,
         "error: output: locked/a/b cannot be created: Permission denied", true},
        {"a folder that is not ours", run_recipe, locked("locked"), 73,
         "error: output: locked cannot be written: Permission denied", true},
    });
}

}   // namespace
}   // namespace trainer::test
