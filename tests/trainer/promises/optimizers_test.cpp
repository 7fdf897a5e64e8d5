// Every optimizer, and the schedule with a memory: stopped and resumed, on several ranks and with what they share out,
// the same bits.
#include <gtest/gtest.h>
#include <signal.h>

#include "configs/json.h"
#include "tests/trainer/promises/project.h"

namespace trainer::test {
namespace {

const std::vector<std::string> all_shardings = {"none", "optimizer", "gradients"};

// Stopped after two of its six steps, and on two ranks with everything that they may share out.
void expect_the_same_however_it_runs(const Words& overrides, const std::vector<std::string>& shardings) {
    const PromiseProject project(overrides);
    const RunResult expected = project.finish("one");
    ASSERT_FALSE(expected.empty());
    const ProgramResult stopped = project.run("stopped", {}, signal_at(2, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
    for (const std::string& sharding : shardings) {
        SCOPED_TRACE(sharding);
        expect_same(project.finish(sharding, {"--nproc", "2", "training.sharding=" + sharding}), expected);
    }
}

// All weights, among them one of more than 4096 elements, whose state adamw_8bit keeps in codes.
Words full(const std::string& optimizer) {
    return {"peft=null", "training.determinism=strict", "optimizer=" + optimizer};
}

struct Rule {
    const char* name;
    const char* options;
    bool whole = false;   // does not go with sharding

    std::string optimizer() const { return std::string("{name: ") + name + ", " + options + "}"; }
};

std::string name_of(const testing::TestParamInfo<Rule>& info) { return info.param.name; }

class EveryOptimizer : public testing::TestWithParam<Rule> {};

TEST_P(EveryOptimizer, AreResumedAndShared) {
    const std::vector<std::string> none = {"none"};
    expect_the_same_however_it_runs(full(GetParam().optimizer()), GetParam().whole ? none : all_shardings);
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryOptimizer,
    testing::Values(Rule{"adamw_8bit", "lr: 5e-3, weight_decay: 0.1"}, Rule{"sgd", "lr: 0.1, nesterov: true"},
                    Rule{"lion", "lr: 1e-3, groups: [{match: .*norm.*, lr: 1e-4, weight_decay: 0.1}]"},
                    Rule{"adafactor", "lr: 1e-2, beta1: 0.9, scale_parameter: true", true},
                    Rule{"muon", "lr: 1e-2", true}, Rule{"schedule_free_adamw", "lr: 5e-3"}),
    name_of);

TEST(ScheduleFree, SavesWhatItEvaluates) {
    const PromiseProject project(full("{name: schedule_free_adamw, lr: 1e-2}"));
    const auto evaluation = [&](const std::string& output, bool last) {
        std::vector<std::string> losses;
        for (const std::string& text : metrics_lines(project / output)) {
            const Node line = parse_json(text, "metrics");
            if (const Node* loss = line.find("eval_loss")) losses.push_back(to_json(*loss));
        }
        return losses.at(last ? losses.size() - 1 : 0);
    };
    ASSERT_FALSE(project.finish("first").empty());
    ASSERT_FALSE(project.finish("second", {"model.base=first", "training.steps=1", "training.epochs=null"}).empty());
    EXPECT_EQ(evaluation("second", false), evaluation("first", true));
    EXPECT_NE(evaluation("first", false), evaluation("first", true));
}

TEST(Schedules, PlateauIsResumed) {
    expect_the_same_however_it_runs(
        {"schedule={name: reduce_on_plateau, patience: 0, factor: 0.5, threshold: 0.9}", "eval.every=1"},
        {"gradients"});
}

}   // namespace
}   // namespace trainer::test
