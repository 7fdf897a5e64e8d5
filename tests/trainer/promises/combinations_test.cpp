// Adapter method, format of the base, precision, optimizer and what is kept in memory go together in any way: every
// pair of their values occurs in a run that learns, and that ends in the same bits when it is stopped and resumed; or
// the combination is refused with its reason.
#include "tests/trainer/promises/combinations.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "configs/file.h"
#include "configs/json.h"

namespace trainer::test {
namespace {

class Combinations : public testing::TestWithParam<Combination> {};

TEST_P(Combinations, LearnAndAreResumedOrRefused) {
    Words overrides = {"schedule={name: constant, warmup: 0}"};
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        for (const std::string& one : choice_of(GetParam(), axis).overrides) overrides.push_back(one);
    const PromiseProject project(overrides);
    for (std::size_t axis = 0; axis < axis_count; ++axis)
        if (const Words& words = choice_of(GetParam(), axis).preparation; !words.empty()) {
            const ProgramResult prepared = run_program(words, project.path());
            ASSERT_EQ(prepared.code, 0) << prepared.err;
        }
    if (const std::string reason = refusal(GetParam()); !reason.empty()) {
        const ProgramResult result = project.run("refused");
        EXPECT_EQ(result.code, 78);
        EXPECT_NE(result.err.find(reason), std::string::npos) << result.err;
        return;
    }
    const RunResult expected = project.finish("straight");
    ASSERT_FALSE(expected.empty());
    std::vector<double> losses;
    for (const std::string& text : metrics_lines(project / "straight"))
        if (const Node* loss = parse_json(text, "metrics").find("eval_loss")) losses.push_back(loss->as_number());
    ASSERT_GE(losses.size(), 2u);
    EXPECT_LT(losses.back(), losses.front());

    const ProgramResult stopped = project.run("stopped", {}, signal_at(3, SIGTERM));
    ASSERT_EQ(stopped.code, 75) << stopped.err;
    expect_same(project.finish("stopped", {"--resume"}), expected);
}

std::string name_of_case(const testing::TestParamInfo<Combination>& one) { return name_of(one.param); }

INSTANTIATE_TEST_SUITE_P(Pairwise, Combinations, testing::ValuesIn(covering_array()), name_of_case);

constexpr const char* table_file = TRAINER_SOURCE_DIR "/docs/combinations.md";

std::string table() {
    std::string text =
        "# What goes together\n\nAny adapter with any base, precision, optimizer and way to save memory. Each row is a "
        "test "
        "(`tests/trainer/promises/combinations_test.cpp`)\nthat trains a tiny model: its validation loss falls, and a "
        "run that "
        "is stopped and resumed ends in the same bits; or the\nprogram refuses it before the first step. Every pair of "
        "values "
        "of two columns occurs. Written by `TRAINER_WRITE_DOCS=1\ntest_trainer "
        "--gtest_filter='CombinationsTable.*'`.\n\n|";
    for (const Axis& axis : axes()) text += std::string(" ") + axis.name + " |";
    text += " result |\n|";
    for (std::size_t axis = 0; axis <= axis_count; ++axis) text += " --- |";
    text += "\n";
    for (const Combination& one : covering_array()) {
        text += "|";
        for (std::size_t axis = 0; axis < axis_count; ++axis)
            text += std::string(" ") + choice_of(one, axis).name + " |";
        const std::string reason = refusal(one);
        text += " " + (reason.empty() ? "learns, resumes to the bit" : "refused: " + reason) + " |\n";
    }
    text += "\nThe words stand for these keys:\n\n| word | keys |\n| --- | --- |\n";
    for (const Axis& axis : axes())
        for (const Choice& choice : axis.choices) {
            text += std::string("| ") + axis.name + " " + choice.name + " |";
            if (choice.overrides.empty()) text += " the defaults";
            for (const std::string& key : choice.overrides) text += " `" + key + "`";
            text += " |\n";
        }
    return text;
}

TEST(CombinationsTable, IsThatOfTheDocs) {
    const char* write = std::getenv("TRAINER_WRITE_DOCS");
    if (write && *write) put_text(table_file, table());
    EXPECT_EQ(read_text_file(table_file), table());
}

}   // namespace
}   // namespace trainer::test
