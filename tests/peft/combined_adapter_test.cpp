#include "peft/combined_adapter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "configs/error.h"
#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

const std::string module_name = "model.layers.0.self_attn.q_proj";
const std::string path = "base_model.model." + module_name + ".lora_";

struct Given {
    std::int64_t rank = 2;
    double alpha = 4;
    float a = 1, b = 1;
    std::int64_t in = 3;
    bool dora = false;
    bool bias = false;
};

// An adapter of one layer with in → 2 features, whose elements are all the same.
fs::path write(const ScratchFolder& folder, const std::string& name, const Given& given) {
    AdapterConfig config;
    config.targets = {"q_proj"};
    config.rank = given.rank;
    config.alpha = given.alpha;
    config.use_dora = given.dora;
    const auto values = [](std::int64_t count, float value) {
        return std::vector<float>(static_cast<std::size_t>(count), value);
    };
    std::vector<AdapterTensor> tensors = {
        {path + "A.weight", {given.rank, given.in}, nullptr, values(given.rank * given.in, given.a)},
        {path + "B.weight", {2, given.rank}, nullptr, values(2 * given.rank, given.b)}};
    if (given.dora) tensors.push_back({path + "magnitude_vector", {2}, nullptr, values(2, 1)});
    if (given.bias)
        tensors.push_back({"base_model.model." + module_name + ".base_layer.bias", {2}, nullptr, values(2, 1)});
    fs::create_directories(folder / name);
    write_adapter(folder / name, config, tensors);
    return folder / name;
}

Error refusal(const std::vector<fs::path>& folders, Combination how) {
    try {
        combine_adapters(folders, {how, std::vector<double>(folders.size(), 1.0)});
    } catch (const Error& error) {
        return error;
    }
    return Error(Exit::done, "");
}

TEST(CombinedAdapter, SideBySideIsTheExactSum) {
    const ScratchFolder folder;
    const auto one = write(folder, "one", {.rank = 2, .alpha = 4, .a = 1, .b = 2});
    const auto two = write(folder, "two", {.rank = 3, .alpha = 3, .a = 5, .b = 7});
    const CombinedAdapter both = combine_adapters({one, two}, {Combination::cat, {0.5, -1}});
    EXPECT_EQ(both.config.rank, 5);
    EXPECT_EQ(both.config.alpha, 5);   // scale 1
    EXPECT_EQ(both.config.targets, std::vector<std::string>{module_name});
    const auto& a = both.tensors.at(0).made;
    const auto& b = both.tensors.at(1).made;
    for (int row = 0; row < 2; ++row)
        for (int column = 0; column < 3; ++column) {
            float sum = 0;
            for (int k = 0; k < 5; ++k)
                sum += b[static_cast<std::size_t>(row * 5 + k)] * a[static_cast<std::size_t>(k * 3 + column)];
            EXPECT_FLOAT_EQ(sum, 0.5f * 2 * 2 * (1 * 2) - 1.0f * 3 * (5 * 7));
        }
}

TEST(CombinedAdapter, TheSignThatOutweighsIsElected) {
    const ScratchFolder folder;
    const auto one = write(folder, "one", {.alpha = 2, .a = 3});
    const auto two = write(folder, "two", {.alpha = 2, .a = 1});
    const auto three = write(folder, "three", {.alpha = 2, .a = -2});
    const CombinedAdapter all = combine_adapters({one, two, three}, {Combination::ties, {1, 1, 1}, 1.0});
    for (float value : all.tensors.at(0).made) EXPECT_FLOAT_EQ(value, 2);   // the mean of 3 and 1
    const CombinedAdapter half = combine_adapters({one}, {Combination::ties, {1}, 0.5});
    EXPECT_EQ(half.tensors.at(0).made, (std::vector<float>{3, 3, 3, 0, 0, 0}));
}

TEST(CombinedAdapter, DareKeepsAShareAndItsMean) {
    const ScratchFolder folder;
    const auto one = write(folder, "one", {.rank = 4, .alpha = 4, .in = 5000});
    const CombineOptions options{Combination::dare_linear, {1}, 0.25, 7};
    const auto values = combine_adapters({one}, options).tensors.at(0).made;
    int kept = 0;
    for (float value : values) {
        EXPECT_TRUE(value == 0 || value == 4) << value;
        kept += value != 0;
    }
    EXPECT_NEAR(kept, 5000, 4 * std::sqrt(20000 * 0.25 * 0.75));
    EXPECT_EQ(combine_adapters({one}, options).tensors.at(0).made, values);
    EXPECT_NE(combine_adapters({one}, {Combination::dare_linear, {1}, 0.25, 8}).tensors.at(0).made, values);
}

TEST(CombinedAdapter, WhatCannotBeCombinedIsRefused) {
    const ScratchFolder folder;
    const auto one = write(folder, "one", {});
    const auto message = [&](const Given& other, Combination how) {
        const Error error = refusal({one, write(folder, "other", other)}, how);
        EXPECT_EQ(error.code(), Exit::bad_data);
        const std::string text = error.what();
        return text.substr(std::min(text.size(), folder.path().string().size() + 1));
    };
    EXPECT_EQ(message({.dora = true}, Combination::cat), "other: is no plain LoRA; only A and B can be combined");
    EXPECT_EQ(message({.bias = true}, Combination::cat).substr(0, 40), "other: holds base_model.model.model.laye");
    EXPECT_NE(message({.in = 4}, Combination::cat).find("they belong to different bases"), std::string::npos);
    EXPECT_NE(message({.rank = 3}, Combination::linear).find("only cat combines different ranks"), std::string::npos);
    EXPECT_EQ(refusal({one, folder / "nothing"}, Combination::cat).code(), Exit::no_input);
}

}   // namespace
}   // namespace trainer::test
