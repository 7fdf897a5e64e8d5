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
         "error: output: out already holds a run; go on with it with --resume, choose another folder or remove it"},
        {"holds an adapter",
         {"check", "recipe.yaml"},
         with_file("out/adapter_model.safetensors", "x"),
         73,
         "error: output: out is not empty; choose a new or an empty folder"},
        {"only a recipe", run_recipe, with_file("out/recipe.yaml", "# mine"), 73,
         "error: output: out is not empty; choose a new or an empty folder"},
        {"only a recipe, resumed",
         {"run", "recipe.yaml", "--resume"},
         with_file("out/recipe.yaml", "# mine"),
         73,
         "error: output: out holds no run to resume but other files; is it the right folder?"},
        {"not empty", run_recipe, with_file("out/notes.txt", "mine"), 73,
         "error: output: out is not empty; choose a new or an empty folder"},
        {"a file", run_recipe, with_file("out", "mine"), 73, "error: output: out is there already and is no folder"},
        {"below a file", run_recipe, with_recipe("output: out", "output: train.jsonl/out"), 73,
         "error: output: train.jsonl/out cannot be created: Not a directory"},
        {"a link to nowhere", run_recipe,
         [](const fs::path& folder) { fs::create_symlink("gone/runs", folder / "out"); }, 73,
         "error: output: out is a link to gone/runs, which is not there; make that folder or choose another"},
        {"below a link to nowhere", run_recipe,
         [](const fs::path& folder) {
             fs::create_symlink("gone", folder / "runs");
             with_recipe("output: out", "output: ./runs/a/b/")(folder);
         },
         73, "error: output: ./runs is a link to gone, which is not there; make that folder or choose another"},
        {"name too long", run_recipe, with_recipe("output: out", "output: " + std::string(300, 'x')), 73,
         "error: output: " + std::string(300, 'x') + ": File name too long"},
        {"in a folder that is not ours", run_recipe, locked("locked/a/b"), 73,
         "error: output: locked/a/b cannot be created: Permission denied", true},
        {"a folder that is not ours", run_recipe, locked("locked"), 73,
         "error: output: locked cannot be written: Permission denied", true},
    });
}

// Mistakes of several kinds are all reported; the first kind decides the code.
TEST(Mistakes, SeveralAtOnce) {
    check_mistakes({
        {"occupied output and a bad row", run_recipe,
         [](const fs::path& folder) {
             with_file("out/metrics.jsonl", "{}\n")(folder);
             put_text(folder / "train.jsonl", "{\"text\": 3}\n");
         },
         73,
         "error: output: out already holds a run; go on with it with --resume, choose another folder or remove it\n"
         "error: train.jsonl:1: field \"messages\" is missing"},
        {"a missing file and an unknown target",
         {"run", "recipe.yaml", "data.train.path=gone.jsonl", "peft.targets=[q_prj]"},
         [](const fs::path& folder) { with_file("unused", "")(folder); },
         78,
         "error: data.train: there is no file gone.jsonl\n"
         "error: peft.targets: \"q_prj\" matches no linear layer or embedding of the model; did you mean \"q_proj\"? "
         "it has "
         "down_proj, embed_tokens, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"},
    });
}

}   // namespace
}   // namespace trainer::test
