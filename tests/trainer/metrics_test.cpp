#include "trainer/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/training.h"

namespace trainer::test {
namespace {

TEST(Metrics, NumbersReadBackToTheSameBits) {
    const ScratchFolder folder;
    const double odd = 0.1 + 0.2;
    Metrics metrics(folder / "metrics.jsonl");
    Metrics::Step step{1, 1.0 / 3, {{7 * odd, 3, 14, 7, 9}, 1e-300, 9, true}, 5e-324, {}, 9, 2.0, {}, 1};
    metrics.step(step);
    step.loss_scale = 65536;
    step.result.gradient_norm = std::nan("");
    metrics.step(step);
    const auto lines = json_lines(get_text(folder / "metrics.jsonl"));   // flushed although still open
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_EQ(lines[0].at("epoch").as_number(), 1.0 / 3);
    EXPECT_EQ(lines[0].at("loss").as_number(), 7 * odd / 7);
    EXPECT_EQ(lines[0].at("grad_norm").as_number(), 1e-300);
    EXPECT_EQ(lines[0].at("learning_rate").as_number(), 5e-324);
    EXPECT_EQ(lines[0].at("mean_token_accuracy").as_number(), 3.0 / 7);
    EXPECT_EQ(lines[0].at("entropy").as_number(), 2.0);
    EXPECT_EQ(lines[0].at("tokens_per_second").as_number(), 4.5);
    EXPECT_FALSE(lines[0].contains("loss_scale"));
    EXPECT_TRUE(lines[1].at("grad_norm").is_null());
    EXPECT_EQ(lines[1].at("loss_scale").as_number(), 65536);
}

TEST(Metrics, HistoryHoldsTransformersKeysAlone) {
    const ScratchFolder folder;
    Metrics metrics(folder / "metrics.jsonl");
    metrics.evaluation({0, 0, {{"", {6, 1, 2, 3, 3}}}, 0.5});
    metrics.step({1, 0.5, {{1, 1, 1, 1, 1}, 1}, 1e-4, 1024, 1, 1.0, {}, 1});
    const auto& history = metrics.history().as_list();
    ASSERT_EQ(history.size(), 2u);
    EXPECT_EQ(history[0].at("eval_loss").as_number(), 2.0);
    EXPECT_EQ(keys_of(history[1]), (std::vector<std::string>{"step", "epoch", "loss", "grad_norm", "learning_rate",
                                                             "num_input_tokens_seen"}));
}

}   // namespace
}   // namespace trainer::test
