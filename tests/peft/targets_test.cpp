#include "peft/targets.h"

#include <gtest/gtest.h>

#include "configs/error.h"
#include "configs/json.h"
#include "models/group.h"

namespace trainer {
namespace {

// Two layers of {self_attn.q_proj, self_attn.k_proj, mlp.up_proj} and lm_head.
class TargetsTest : public ::testing::Test {
protected:
    TargetsTest() {
        for (int layer = 0; layer < 2; ++layer) {
            const Scope scope = Scope(model_) / "model" / "layers" / layer;
            groups_.push_back(std::make_unique<LinearGroup>(scope / "self_attn", 4,
                                                            std::vector<LinearSpec>{{"q_proj", 4}, {"k_proj", 2}}));
            groups_.push_back(std::make_unique<LinearGroup>(scope / "mlp", 4, std::vector<LinearSpec>{{"up_proj", 8}}));
        }
        groups_.push_back(std::make_unique<LinearGroup>(Scope(model_), 4, std::vector<LinearSpec>{{"lm_head", 16}}));
    }

    // Paths without "model.layers.", joined.
    std::string selected(const TargetOption& option) {
        std::vector<std::string> names;
        for (const Linear* linear : select_targets(model_.linears, option)) {
            const std::string prefix = "model.layers.";
            names.push_back(linear->name.starts_with(prefix) ? linear->name.substr(prefix.size()) : linear->name);
        }
        return join(names, " ");
    }
    std::string names(std::vector<std::string> list) { return selected({std::move(list), ""}); }
    std::string pattern(const std::string& text) { return selected({{}, text}); }

    template <typename Call>
    std::string refused(Call call) {
        try {
            call();
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_recipe);
            return error.what();
        }
        return "";
    }

    Declarations model_;
    std::vector<std::unique_ptr<LinearGroup>> groups_;
};

TEST_F(TargetsTest, AllLinearLeavesTheHeadOut) {
    EXPECT_EQ(
        pattern("all-linear"),
        "0.self_attn.q_proj 0.self_attn.k_proj 0.mlp.up_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj");
}

TEST_F(TargetsTest, NamesAreWholeSuffixesOfThePath) {
    EXPECT_EQ(names({"k_proj", "q_proj"}),
              "0.self_attn.q_proj 0.self_attn.k_proj 1.self_attn.q_proj "
              "1.self_attn.k_proj");   // in the model's order
    EXPECT_EQ(names({"1.mlp.up_proj"}), "1.mlp.up_proj");
    EXPECT_EQ(names({"model.layers.0.self_attn.q_proj"}), "0.self_attn.q_proj");
    EXPECT_EQ(names({"lm_head"}), "lm_head");   // the head when it is asked for by name
    EXPECT_EQ(names({"up_proj", "1.mlp.up_proj"}), "0.mlp.up_proj 1.mlp.up_proj");   // each once
    EXPECT_NE(refused([&] { names({"proj"}); }), "");
    EXPECT_NE(refused([&] { names({"self_attn"}); }), "");
}

TEST_F(TargetsTest, PatternsMatchTheWholePath) {
    EXPECT_EQ(pattern(R"(.*\.0\..*_proj)"), "0.self_attn.q_proj 0.self_attn.k_proj 0.mlp.up_proj");
    EXPECT_EQ(pattern(R"(model\.layers\.1\.self_attn\.(q|k)_proj)"), "1.self_attn.q_proj 1.self_attn.k_proj");
    EXPECT_EQ(pattern("lm_head"), "lm_head");
    EXPECT_NE(refused([&] { pattern("q_proj"); }), "");   // part of a path is not enough
    EXPECT_NE(refused([&] { pattern(".*_pro"); }), "");
}

TEST_F(TargetsTest, WhatMatchesNothingIsRefusedWithTheNearestName) {
    EXPECT_EQ(refused([&] {
                  names({"q_proj", "k_porj"});
              }),
              "peft.targets: \"k_porj\" matches no linear layer of the model; did you mean \"k_proj\"? it has k_proj, "
              "lm_head, q_proj, up_proj");
    EXPECT_EQ(refused([&] { names({"embed_tokens"}); }),
              "peft.targets: \"embed_tokens\" matches no linear layer of the model; it has k_proj, lm_head, q_proj, "
              "up_proj");
    EXPECT_EQ(refused([&] { names({"all-linear"}); }),
              "peft.targets: \"all-linear\" matches no linear layer of the model; did you mean all-linear without "
              "brackets? it has k_proj, lm_head, q_proj, up_proj");
    const std::string has = "it has k_proj, lm_head, q_proj, up_proj";
    const std::pair<const char*, const char*> cases[] = {
        {"q_proj", "did you mean [q_proj]? "},
        {"self_attn.q_proj", "did you mean [self_attn.q_proj]? "},
        {"q_porj", "did you mean [q_proj]? "},
        {"q_proj, k_proj", "did you mean [q_proj, k_proj]? "},
        {"(q_proj|up_prj)", "did you mean [q_proj, up_proj]? "},
        {"all_linear", "did you mean all-linear? "},
        {"all linear", "did you mean all-linear? "},
        {"q_proj|attention", ""},
        {"|", ""},
    };
    for (const auto& [text, hint] : cases)
        EXPECT_EQ(refused([&, text = text] { pattern(text); }),
                  "peft.targets: the regular expression \"" + std::string(text) +
                      "\" matches no linear layer of the model as a whole, such as " + model_.linears[0]->name + "; " +
                      hint + has);
    const std::string broken = refused([&] { pattern("(q_proj"); });
    EXPECT_EQ(broken.rfind("peft.targets: \"(q_proj\" is no regular expression: ", 0), 0u) << broken;
}

TEST_F(TargetsTest, SuffixesForTheConfigFile) {
    EXPECT_EQ(target_suffixes(select_targets(model_.linears, {{}, "all-linear"})),
              (std::vector<std::string>{"k_proj", "q_proj", "up_proj"}));
}

}   // namespace
}   // namespace trainer
