#include "peft/targets.h"

#include <gtest/gtest.h>

#include <functional>

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
        AdapterOptions options;
        options.targets = option;
        for (const Linear* linear : select_targets(model_, options).linears) {
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
              "peft.targets: \"k_porj\" matches no linear layer or embedding of the model; did you mean \"k_proj\"? it "
              "has k_proj, "
              "lm_head, q_proj, up_proj");
    EXPECT_EQ(refused([&] { names({"embed_tokens"}); }),
              "peft.targets: \"embed_tokens\" matches no linear layer or embedding of the model; it has k_proj, "
              "lm_head, q_proj, "
              "up_proj");
    EXPECT_EQ(refused([&] { names({"all-linear"}); }),
              "peft.targets: \"all-linear\" matches no linear layer or embedding of the model; did you mean all-linear "
              "without "
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
                      "\" matches no linear layer or embedding of the model as a whole, such as " +
                      model_.linears[0]->name + "; " + hint + has);
    const std::string broken = refused([&] { pattern("(q_proj"); });
    EXPECT_EQ(broken.rfind("peft.targets: \"(q_proj\" is no regular expression: ", 0), 0u) << broken;
}

TEST_F(TargetsTest, SuffixesForTheConfigFile) {
    EXPECT_EQ(target_suffixes(select_targets(model_, AdapterOptions())),
              (std::vector<std::string>{"k_proj", "q_proj", "up_proj"}));
}

TEST_F(TargetsTest, EmbeddingsAreChosenByNameOnly) {
    Embedding embedding(Scope(model_) / "model" / "embed_tokens", 16, 4);
    AdapterOptions options;
    EXPECT_TRUE(select_targets(model_, options).embeddings.empty());
    options.targets.names = {"embed_tokens"};
    EXPECT_EQ(select_targets(model_, options).embeddings, std::vector<Embedding*>{&embedding});
    EXPECT_TRUE(select_targets(model_, options).linears.empty());
    options.targets = {{}, ".*(embed_tokens|1.*up_proj)"};
    const Selection both = select_targets(model_, options);
    EXPECT_EQ(both.embeddings.size(), 1u);
    EXPECT_EQ(target_suffixes(both), (std::vector<std::string>{"embed_tokens", "up_proj"}));
}

TEST_F(TargetsTest, ExcludedOnesOtherLayersAndSavedModulesAreLeftOut) {
    const auto chosen = [&](const std::function<void(AdapterOptions&)>& change) {
        AdapterOptions options;
        options.targets.names = {"q_proj", "up_proj"};
        change(options);
        std::vector<std::string> names;
        for (const Linear* linear : select_targets(model_, options).linears) names.push_back(linear->name.substr(13));
        return join(names, " ");
    };
    using O = AdapterOptions;
    EXPECT_EQ(chosen([](O& o) {
                  o.exclude = TargetOption{{"0.mlp.up_proj"}, ""};
              }),
              "0.self_attn.q_proj 1.self_attn.q_proj 1.mlp.up_proj");
    EXPECT_EQ(chosen([](O& o) { o.exclude = TargetOption{{}, ".*q_proj"}; }), "0.mlp.up_proj 1.mlp.up_proj");
    EXPECT_EQ(chosen([](O& o) { o.layers_to_transform = {1}; }), "1.self_attn.q_proj 1.mlp.up_proj");
    EXPECT_EQ(chosen([](O& o) { o.layers_to_transform = {0}, o.layers_pattern = {"layers"}; }),
              "0.self_attn.q_proj 0.mlp.up_proj");
    EXPECT_EQ(chosen([](O& o) { o.modules_to_save = {"mlp"}; }), "0.self_attn.q_proj 1.self_attn.q_proj");
    EXPECT_EQ(refused([&] { chosen([](O& o) { o.layers_to_transform = {2}; }); }),
              "peft.layers_to_transform: there is no layer 2; the model has 0 to 1");
    EXPECT_EQ(refused([&] { chosen([](O& o) {
                                o.targets = {{}, ".*q_proj"}, o.layers_to_transform = {1};
                            }); }),
              "peft.layers_to_transform: a regular expression in targets says already which layers; use one of them");
    EXPECT_EQ(refused([&] { chosen([](O& o) { o.layers_pattern = {"layers"}; }); }),
              "peft.layers_pattern: has no effect without layers_to_transform");
}

TEST(Patterns, TheFirstThatMatchesTheEndOfThePathCounts) {
    const PatternMap<std::int64_t> ranks{{{"1\\..*q_proj", 2}, {"q_proj", 3}, {"model.*v_proj", 4}}};
    EXPECT_EQ(by_pattern<std::int64_t>(ranks, "model.layers.1.self_attn.q_proj", 8), 2);
    EXPECT_EQ(by_pattern<std::int64_t>(ranks, "model.layers.0.self_attn.q_proj", 8), 3);
    EXPECT_EQ(by_pattern<std::int64_t>(ranks, "model.layers.0.self_attn.v_proj", 8), 4);
    EXPECT_EQ(by_pattern<std::int64_t>(ranks, "model.layers.0.self_attn.my_q_proj", 8), 8);
}

}   // namespace
}   // namespace trainer
