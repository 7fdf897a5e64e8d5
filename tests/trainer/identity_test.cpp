#include "trainer/identity.h"

#include <gtest/gtest.h>

#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

TEST(Identity, SaysWhatChangesTheResult) {
    const TinyProject project;
    const Node base = resolved(project.inputs().recipe);
    const auto changes = [&](const std::vector<std::string>& overrides) {
        std::string text;
        for (const RecipeChange& one : changes_of_result(base, resolved(project.inputs(overrides).recipe)))
            text += one.key + ": " + one.before + " -> " + one.now + "\n";
        return text;
    };
    EXPECT_EQ(changes({}), "");
    EXPECT_EQ(changes({"optimizer.lr=1e-4", "training.seed=7"}),
              "optimizer.lr: 0.005 -> 0.0001\ntraining.seed: 42 -> 7\n");
    EXPECT_EQ(changes({"peft.targets=[q_proj]"}), "peft.targets: \"all-linear\" -> [\"q_proj\"]\n");
    EXPECT_EQ(changes({"eval.patience=4"}), "eval.patience: null -> 4\neval.every: nothing -> 50\n");
    EXPECT_NE(changes({"peft=null"}).find("peft.rank: 4 -> nothing"), std::string::npos);
    for (const char* harmless :
         {"logging.every=5", "checkpoint.keep=9", "checkpoint.every=epoch", "eval.every=3", "training.recompute=block",
          "training.offload=optimizer", "training.sharding=gradients"})
        EXPECT_EQ(changes({harmless}), "") << harmless;
    const auto in_backward = [&](const char* whether) {
        return resolved(project
                            .inputs({"peft=null", "training.micro_batch=4", "training.clip_norm=0",
                                     std::string("optimizer.in_backward=") + whether})
                            .recipe);
    };
    EXPECT_TRUE(changes_of_result(in_backward("false"), in_backward("true")).empty());
    const auto at_every = [&](const char* every) {   // evaluations move the learning rate
        return resolved(project.inputs({"schedule={name: reduce_on_plateau}", every}).recipe);
    };
    EXPECT_EQ(changes_of_result(at_every("eval.every=2"), at_every("eval.every=3")).size(), 1u);
}

TEST(Identity, SumsThatShardingMakesStrictAreAnotherRecipe) {
    const TinyProject project;
    const auto recipe = [&](const char* sharding) {
        return resolved(
            project
                .inputs({"peft=null", "training.determinism=repeatable", std::string("training.sharding=") + sharding})
                .recipe);
    };
    EXPECT_TRUE(changes_of_result(recipe("none"), recipe("optimizer")).empty());
    const auto changes = changes_of_result(recipe("none"), recipe("gradients"));
    ASSERT_EQ(changes.size(), 1u);
    EXPECT_EQ(changes[0].now, "strict");
}

TEST(Identity, FollowsDataAndModelNotTheirPlaces) {
    TinyProject project;
    const auto first = identity_of(project.inputs());
    EXPECT_EQ(first, identity_of(project.inputs({"logging.every=2"})));
    EXPECT_EQ(first.at("program").size(), 64u);

    std::filesystem::copy_file(project.path() / "train.jsonl", project.path() / "moved.jsonl");
    const std::string moved = "data.train={path: " + (project.path() / "moved.jsonl").string() + "}";
    EXPECT_EQ(identity_of(project.inputs({moved})), first);
    put_text(project.path() / "moved.jsonl", tiny_chats(16, 8));
    const auto other_data = identity_of(project.inputs({moved}));
    EXPECT_NE(other_data.at("data"), first.at("data"));
    EXPECT_EQ(other_data.at("base"), first.at("base"));
    EXPECT_NE(identity_of(project.inputs({"data.train_on=all"})).at("data"), first.at("data"));

    write_tiny_weights(project.path() / "model/model.safetensors", tiny_tensors(), 99);
    EXPECT_NE(identity_of(project.inputs()).at("base"), first.at("base"));
}

}   // namespace
}   // namespace trainer::test
