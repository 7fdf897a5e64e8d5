#include "data/audit.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "configs/error.h"
#include "tests/data/encoder_fixture.h"
#include "tests/support/tiny_model.h"

namespace trainer {
namespace {

using test::ChatWorld;
using test::json;

constexpr std::int64_t vocabulary = 261;

class AuditTest : public ::testing::Test {
protected:
    DataSource source(const std::string& name, const std::string& text, const std::string& format = "text",
                      double weight = 1) {
        test::put_text(folder_ / name, text);
        return {folder_ / name, format, weight};
    }

    AuditedData run(const std::vector<DataSource>& sources, const EncodeOptions& options = {}, std::uint64_t seed = 1) {
        const ChatWorld world(test::chat_ml, options);
        return audit(sources, world.encoder(), vocabulary, seed);
    }

    // The message of the Error, the folder left out; code 65 is expected.
    std::string refused(const std::vector<DataSource>& sources, const EncodeOptions& options = {}) {
        try {
            run(sources, options);
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), Exit::bad_data);
            return shortened(error.what());
        }
        return "";
    }

    std::string shortened(std::string message) {
        const std::string prefix = folder_.path().string() + "/";
        for (std::size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
        return message;
    }

    test::ScratchFolder folder_;
};

EncodeOptions limited(std::int64_t max_length, Overlong overlong = Overlong::truncate) {
    EncodeOptions options;
    options.max_length = max_length;
    options.overlong = overlong;
    return options;
}

// Texts of 3, 6 and 2 tokens with their EOS.
constexpr const char* three = "{\"text\": \"ab\"}\n\n{\"text\": \"abcde\"}\n{\"text\": \"a\"}\n";

TEST_F(AuditTest, CountsWhatItKeeps) {
    const AuditedData data = run({source("a.jsonl", three)});
    const AuditReport& report = data.report;
    EXPECT_EQ(report.rows, 3);
    EXPECT_EQ(report.kept, 3);
    EXPECT_EQ(report.cut, 0);
    EXPECT_EQ(report.tokens, 11);
    EXPECT_EQ(report.targets, 8);
    EXPECT_EQ(report.longest, 6);
    EXPECT_EQ(report.longest_before, 6);
    EXPECT_EQ(report.without_trained_end, 0);
    EXPECT_TRUE(report.dropped.empty());
    EXPECT_TRUE(report.warnings.empty());
    ASSERT_EQ(data.examples.size(), 3u);
    EXPECT_EQ(data.examples[0].ids, (std::vector<std::int32_t>{'a', 'b', 260}));
    EXPECT_EQ(data.examples[0].row, 1);
    EXPECT_EQ(data.examples[1].row, 3);   // lines of the file, blank ones counted
    EXPECT_EQ(data.examples[2].source, 0);
}

TEST_F(AuditTest, LongRowsAreCutDroppedOrRefused) {
    const DataSource rows = source("a.jsonl", three);
    const AuditedData cut = run({rows}, limited(4));
    EXPECT_EQ(cut.report.kept, 3);
    EXPECT_EQ(cut.report.cut, 1);
    EXPECT_EQ(cut.report.tokens, 9);
    EXPECT_EQ(cut.report.longest, 4);
    EXPECT_EQ(cut.report.longest_before, 6);
    EXPECT_EQ(cut.report.without_trained_end, 1);   // its EOS was cut off and nothing is put there
    EXPECT_EQ(cut.examples[1].ids, (std::vector<std::int32_t>{'a', 'b', 'c', 'd'}));
    ASSERT_EQ(cut.report.warnings.size(), 1u);
    EXPECT_EQ(shortened(cut.report.warnings[0]), "a.jsonl: 1 of 3 rows train no EOS or end-of-turn token");

    const AuditedData dropped = run({rows}, limited(4, Overlong::drop));
    EXPECT_EQ(dropped.report.kept, 2);
    EXPECT_EQ(dropped.report.longest, 3);
    EXPECT_EQ(dropped.report.longest_before, 6);
    ASSERT_EQ(dropped.report.dropped.size(), 1u);
    EXPECT_EQ(dropped.report.dropped.begin()->first, "longer than max_length");
    EXPECT_EQ(dropped.report.dropped.begin()->second.count, 1);
    EXPECT_EQ(shortened(dropped.report.dropped.begin()->second.first), "a.jsonl:3");

    EXPECT_EQ(refused({rows}, limited(4, Overlong::error)),
              "a.jsonl:3: the row has 6 tokens, data.max_length is 4 (data.overlong: error)");
    EXPECT_EQ(run({rows}, limited(6, Overlong::error)).report.kept, 3);
}

constexpr const char* prompts =
    "{\"prompt\": \"abcdef\", \"completion\": \"gh\"}\n{\"prompt\": \"a\", \"completion\": \"bcd\"}\n";

TEST_F(AuditTest, RowsWithNothingToTrainOnAreDropped) {
    const AuditedData data = run({source("a.jsonl", prompts, "prompt_completion")}, limited(5));
    EXPECT_EQ(data.report.kept, 1);
    ASSERT_EQ(data.report.dropped.size(), 1u);
    EXPECT_EQ(data.report.dropped.begin()->first, "nothing to train on after truncation");
    const AuditedData empty = run({source("b.jsonl",
                                          R"({"messages": [{"role": "assistant", "content": ""}]})"
                                          "\n"
                                          R"({"messages": [{"role": "assistant", "content": "A"}]})",
                                          "messages")});
    EXPECT_EQ(empty.report.kept, 1);
    EXPECT_EQ(empty.report.dropped.begin()->first, "nothing to train on");
}

TEST_F(AuditTest, DatasetsThatAreRefusedAsAWhole) {
    EXPECT_EQ(refused({source("a.jsonl", "\n")}), "a.jsonl: there are no rows");
    EXPECT_EQ(refused({source("a.jsonl", prompts, "prompt_completion")}, limited(1)),
              "a.jsonl: all 2 rows are dropped: 2 nothing to train on after truncation (first a.jsonl:1)");
    EXPECT_EQ(refused({source("a.jsonl", three)}, limited(2, Overlong::truncate)), "");   // "a" keeps its EOS
    EXPECT_EQ(refused({source("a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"abcd\"}")}, limited(2)),
              "a.jsonl: no row trains an EOS or end-of-turn token, so the model would never learn to stop; check "
              "data.template, data.eos_token and data.max_length");
    EXPECT_EQ(refused({source("a.jsonl", "{\"text\": \"ab\"}", "text", 0)}), "a.jsonl: the weights leave no row");
    try {
        run({{folder_ / "none.jsonl", "text", 1}});
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::no_input);
    }
}

TEST_F(AuditTest, BadRowsStopTheRunOrAreSkipped) {
    const DataSource rows = source("a.jsonl", "{\"text\": \"ab\"}\n{\"txt\": 1}\n{\"text\": }\n{\"text\": \"a\"}\n");
    const std::string message = refused({rows});
    EXPECT_EQ(message.substr(0, message.find('\n')), "a.jsonl:2: field \"text\" is missing");
    EXPECT_EQ(message.substr(message.find('\n') + 1, 14), "a.jsonl:3:10: ");
    EncodeOptions skip;
    skip.on_bad_row = OnBadRow::skip;
    const AuditReport report = run({rows}, skip).report;
    EXPECT_EQ(report.rows, 4);
    EXPECT_EQ(report.kept, 2);
    const AuditReport::Reason& reason = report.dropped.at("cannot be used as written");
    EXPECT_EQ(reason.count, 2);
    EXPECT_EQ(shortened(reason.first), "a.jsonl:2: field \"text\" is missing");
}

TEST_F(AuditTest, TwentyBadRowsAreListed) {
    std::string text;
    for (int i = 0; i < 33; ++i) text += "{}\n";
    const std::string message = refused({source("a.jsonl", text), source("b.jsonl", text)});
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
    EXPECT_NE(message.find("a.jsonl:20: field"), std::string::npos);
    EXPECT_EQ(message.find("a.jsonl:21: field"), std::string::npos);
    EXPECT_EQ(message.substr(message.rfind('\n') + 1), "… and 46 more bad rows");
}

TEST_F(AuditTest, IdsMustBeInTheModelsVocabulary) {
    const ChatWorld world;
    const DataSource rows = source("a.jsonl", "{\"text\": \"ab\"}");
    EXPECT_EQ(test::refusal([&] { audit({rows}, world.encoder(), 260, 1); }).substr(folder_.path().string().size() + 1),
              "a.jsonl:1: token id 260 is beyond the model's vocabulary of 260; tokenizer and model do not belong "
              "together");
}

TEST_F(AuditTest, TokensAcrossAnEdgeGiveAWarning) {
    const AuditReport report =
        run({source("a.jsonl", R"({"prompt": "a ", "completion": "xy"})", "prompt_completion")}).report;
    EXPECT_EQ(report.boundary_tokens, 1);
    ASSERT_EQ(report.warnings.size(), 1u);
    EXPECT_EQ(shortened(report.warnings[0]),
              "a.jsonl: 1 tokens straddle the edge of a trained span and are not trained");
}

std::string many(int rows, const char* letter) {
    std::string text;
    for (int i = 0; i < rows; ++i) text += "{\"text\": \"" + std::string(1 + i % 5, *letter) + "\"}\n";
    return text;
}

TEST_F(AuditTest, WeightsAreCopiesPerEpoch) {
    const auto copies = [&](double weight, std::uint64_t seed = 1) {
        std::vector<int> of_row(1001);
        for (const Example& example : run({source("w.jsonl", many(1000, "a"), "text", weight)}, {}, seed).examples) {
            EXPECT_EQ(example.occurrence, of_row[static_cast<std::size_t>(example.row)]);
            ++of_row[static_cast<std::size_t>(example.row)];
        }
        return of_row;
    };
    const auto count = [](const std::vector<int>& of_row, int times) {
        return std::count(of_row.begin() + 1, of_row.end(), times);
    };
    EXPECT_EQ(count(copies(1), 1), 1000);
    EXPECT_EQ(count(copies(2), 2), 1000);
    const std::vector<int> half = copies(0.5);
    EXPECT_EQ(count(half, 0), 500);
    EXPECT_EQ(count(half, 1), 500);
    const std::vector<int> more = copies(1.5);
    EXPECT_EQ(count(more, 1), 500);
    EXPECT_EQ(count(more, 2), 500);
    EXPECT_EQ(copies(0.5), half);
    EXPECT_NE(copies(0.5, 2), half);
    for (const auto& [weight, taken] : {std::pair(0.0005, 1), {0.1, 100}, {0.3337, 334}, {0.9999, 1000}})
        EXPECT_EQ(count(copies(weight), 1), taken) << weight;
    const std::vector<int> fewer = copies(0.2);   // a smaller share is a part of a larger one
    for (std::size_t row = 1; row <= 1000; ++row) EXPECT_LE(fewer[row], half[row]);
}

// The share is of the rows kept of that source alone.
TEST_F(AuditTest, DroppedRowsAndOtherSourcesDoNotCountForAWeight) {
    const std::string text = many(40, "a") + many(10, "b") + "{\"text\": \"" + std::string(50, 'c') + "\"}\n";
    std::vector<int> of_source(3);
    for (const Example& example :
         run({source("a.jsonl", text, "text", 0.1), source("b.jsonl", text), source("c.jsonl", text, "text", 0.7)},
             limited(20, Overlong::drop))
             .examples)
        ++of_source[static_cast<std::size_t>(example.source)];
    EXPECT_EQ(of_source, (std::vector<int>{5, 50, 35}));
}

TEST_F(AuditTest, CountsAreOfRowsNotOfTheirCopies) {
    const AuditReport report = run({source("a.jsonl", three, "text", 3)}).report;
    EXPECT_EQ(report.kept, 3);
    EXPECT_EQ(report.tokens, 11);
}

TEST_F(AuditTest, SeveralSourcesOneAfterAnother) {
    const AuditedData data =
        run({source("a.jsonl", three), source("b.jsonl", prompts, "prompt_completion", 2), source("c.jsonl", three)});
    EXPECT_EQ(data.report.rows, 8);
    std::vector<std::string> order;
    for (const Example& example : data.examples)
        order.push_back(std::to_string(example.source) + ":" + std::to_string(example.row) + ":" +
                        std::to_string(example.occurrence));
    EXPECT_EQ(order, (std::vector<std::string>{"0:1:0", "0:3:0", "0:4:0", "1:1:0", "1:1:1", "1:2:0", "1:2:1", "2:1:0",
                                               "2:3:0", "2:4:0"}));
}

TEST_F(AuditTest, NothingDependsOnTheNumberOfThreads) {
    EncodeOptions skip = limited(5);
    skip.on_bad_row = OnBadRow::skip;
    std::string text = many(1500, "a") + "{}\n" + many(1500, "b") + "[\n" + many(200, "c");
    const std::vector<DataSource> sources = {source("a.jsonl", text, "text", 1.5), source("b.jsonl", many(50, "d"))};
    const int before = omp_get_max_threads();
    std::vector<std::vector<std::int32_t>> ids;
    Node report;
    for (int threads : {1, 2, 5}) {
        omp_set_num_threads(threads);
        const AuditedData data = run(sources, skip);
        std::vector<std::vector<std::int32_t>> made;
        for (const Example& example : data.examples) made.push_back(example.ids);
        if (threads == 1) {
            ids = made;
            report = data.report.to_node();
        }
        EXPECT_TRUE(made == ids) << threads << " threads";
        EXPECT_EQ(data.report.to_node(), report) << threads << " threads";
    }
    omp_set_num_threads(before);
}

TEST_F(AuditTest, TheReportAsADocument) {
    Node node = run({source("a.jsonl", three)}, limited(4)).report.to_node();
    node.erase("warnings");
    EXPECT_EQ(node, json(R"({"rows": 3, "kept": 3, "cut": 1, "tokens": 9, "trained_tokens": 6, "longest": 4,
        "longest_before_truncation": 6, "rows_without_trained_end": 1, "boundary_tokens": 0, "dropped": {}})"));
}

TEST_F(AuditTest, PreviewShowsEveryRowInOrder) {
    const std::vector<DataSource> sources = {source("a.jsonl", "{\"text\": \"abcde\"}\n{}\n{\"text\": \"a\"}\n"),
                                             source("b.jsonl", "{\"text\": \"b\"}\n")};
    const ChatWorld world(test::chat_ml, limited(3));
    const auto shown = [&](std::int64_t limit) {
        std::vector<std::string> out;
        preview(sources, world.encoder(), vocabulary, limit, [&](const PreviewRow& row) {
            out.push_back(std::to_string(row.source) + ":" + std::to_string(row.row) + " " + row.encoded.text + " " +
                          world.marked(row.encoded) + " " + shortened(row.dropped));
        });
        return out;
    };
    const std::vector<std::string> all = {"0:1 abcde «abc» ", "0:2   a.jsonl:2: field \"text\" is missing",
                                          "0:3 a «a</s>» ", "1:1 b «b</s>» "};
    EXPECT_EQ(shown(0), all);
    EXPECT_EQ(shown(10), all);
    EXPECT_EQ(shown(4), all);
    EXPECT_EQ(shown(2), std::vector<std::string>(all.begin(), all.begin() + 2));
    EXPECT_EQ(shown(3), std::vector<std::string>(all.begin(), all.begin() + 3));
}

// A bug of ours is not a bad row, whatever on_bad_row says.
class BrokenTokenizer : public Tokenizer {
public:
    std::vector<Token> encode(std::string_view text, bool) const override {
        if (text == "b") fail(Exit::internal, "broken");
        return {{1, 0, 1}, {2, 1, static_cast<std::int32_t>(text.size())}};
    }
    std::string decode(const std::vector<std::int32_t>&, bool) const override { return ""; }
    std::string bytes_of(std::int32_t, bool) const override { return ""; }
    std::int32_t vocab_size() const override { return 10; }
    std::int32_t id_of(std::string_view) const override { return -1; }
    std::string token_of(std::int32_t) const override { return ""; }
    bool is_special(std::int32_t) const override { return false; }
};

TEST_F(AuditTest, FailuresThatAreNoFaultOfTheRowPassThrough) {
    EncodeOptions skip;
    skip.on_bad_row = OnBadRow::skip;
    const BrokenTokenizer tokenizer;
    Encoder::Special special;
    special.eos = 3;
    const Encoder encoder(tokenizer, nullptr, special, skip);
    EXPECT_EQ(audit({source("a.jsonl", "{\"text\": \"a\"}")}, encoder, 10, 1).report.kept, 1);
    try {
        audit({source("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}")}, encoder, 10, 1);
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), Exit::internal);
    }
}

}   // namespace
}   // namespace trainer
