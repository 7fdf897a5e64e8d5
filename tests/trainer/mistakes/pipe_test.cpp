// Pipes and devices where files are expected, and where they will do.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "tests/support/tiny_model.h"
#include "tests/trainer/mistakes/mistake.h"
#include "tests/trainer/program.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

std::function<void(const fs::path&)> with_pipe(const std::string& name) {
    return [=](const fs::path& folder) {
        fs::remove(folder / name);
        ASSERT_EQ(::mkfifo((folder / name).c_str(), 0600), 0);
    };
}

std::function<void(const fs::path&)> with_device(const std::string& name) {
    return [=](const fs::path& folder) {
        fs::remove(folder / name);
        fs::create_symlink("/dev/zero", folder / name);
    };
}

TEST(Mistakes, PipesAndDevices) {
    check_mistakes({
        {"recipe is a pipe without a writer",
         {"run", "recipe.yaml"},
         with_pipe("recipe.yaml"),
         66,
         "error: recipe.yaml: is a pipe that nobody writes to"},
        {"recipe is a folder", {"run", "model"}, {}, 66, "error: model: expected a file, found a folder"},
        {"recipe is a device", {"run", "/dev/zero"}, {}, 66, "error: /dev/zero: expected a file, found a device"},
        {"data is a device",
         {"run", "recipe.yaml"},
         with_device("train.jsonl"),
         66,
         "error: data.train: train.jsonl is a device, expected a file"},
        {"config.json is a device",
         {"run", "recipe.yaml"},
         with_device("model/config.json"),
         66,
         "error: ./model/config.json: expected a file, found a device"},
        {"weights are a pipe",
         {"run", "recipe.yaml"},
         with_pipe("model/model.safetensors"),
         65,
         "error: ./model/model.safetensors: is not a regular file"},
        {"a pipe for several ranks",
         {"run", "pipe", "--nproc", "2"},
         with_pipe("pipe"),
         65,
         "error: pipe: is no regular file; every rank reads it, so save it to a file first"},
        {"data from a pipe for several ranks",
         {"run", "recipe.yaml", "data.train.path=pipe", "--nproc", "2"},
         with_pipe("pipe"),
         65,
         "error: pipe: is no regular file; every rank reads it, so save it to a file first"},
        {"a pipe to verify with",
         {"verify", "ranks", "pipe"},
         with_pipe("pipe"),
         65,
         "error: pipe: is no regular file; verify reads it once for every run, so save it to a file first"},
    });
}

// `trainer check <(envsubst < recipe.yaml) data.train.path=<(zcat train.gz)`
TEST(Pipes, HoldRecipeAndData) {
    const ScratchFolder folder;
    write_setup(folder.path());
    const auto report = [](const ProgramResult& result) {   // without the last line, which names the recipe
        EXPECT_EQ(result.code, 0) << result.err;
        return result.out.substr(0, result.out.rfind('\n', result.out.size() - 2));
    };
    const std::string expected = report(run_program({"check", "recipe.yaml"}, folder.path()));
    const auto fill = [&](const char* pipe, const char* file) {
        EXPECT_EQ(::mkfifo((folder / pipe).c_str(), 0600), 0);
        return std::thread([&folder, pipe, file] { std::ofstream(folder / pipe) << get_text(folder / file); });
    };
    std::thread recipe = fill("recipe", "recipe.yaml"), data = fill("data", "train.jsonl");
    const ProgramResult found = run_program({"check", "recipe", "data.train.path=data"}, folder.path());
    recipe.join();
    data.join();
    EXPECT_EQ(report(found), expected);
    EXPECT_EQ(report(run_program({"check", "/dev/stdin"}, folder.path(), {.input = setup_recipe()})), expected);
}

}   // namespace
}   // namespace trainer::test
