#include "data/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "tests/data/tokenizer_fixture.h"

namespace trainer {
namespace {

// The words of a text with their sources: "word@begin-end|…"
std::string words(std::string_view component, const std::string& text) {
    const PreTokenizers made = make_pre_tokenizers(test::json(component));
    Arena arena;
    std::vector<Piece> pieces = {{text, 0, nullptr}}, next;
    for (const auto& stage : made.stages) {
        next.clear();
        for (const Piece& piece : pieces) stage->split(piece, arena, next);
        pieces.swap(next);
    }
    std::string shown;
    for (const Piece& piece : pieces) {
        const Span source = piece.source(0, piece.text.size());
        shown += (shown.empty() ? "" : "|") + std::string(piece.text) + "@" + std::to_string(source.begin) + "-" +
                 std::to_string(source.end);
    }
    return shown;
}

std::string split(const std::string& pattern, const std::string& behavior, bool invert, const std::string& text) {
    return words(R"({"type":"Split","pattern":)" + pattern + R"(,"behavior":")" + behavior + R"(","invert":)" +
                     (invert ? "true}" : "false}"),
                 text);
}

TEST(PreTokenizer, SplitBehaviors) {
    const std::string dash = R"({"String":"-"})", text = "the-final--countdown";
    EXPECT_EQ(split(dash, "Removed", false, text), "the@0-3|final@4-9|countdown@11-20");
    EXPECT_EQ(split(dash, "Isolated", false, text), "the@0-3|-@3-4|final@4-9|-@9-10|-@10-11|countdown@11-20");
    EXPECT_EQ(split(dash, "MergedWithPrevious", false, text), "the-@0-4|final-@4-10|-@10-11|countdown@11-20");
    EXPECT_EQ(split(dash, "MergedWithNext", false, text), "the@0-3|-final@3-9|-@9-10|-countdown@10-20");
    EXPECT_EQ(split(dash, "Contiguous", false, text), "the@0-3|-@3-4|final@4-9|--@9-11|countdown@11-20");
}

TEST(PreTokenizer, SplitInverted) {
    const std::string word = R"({"Regex":"\\w+"})";
    EXPECT_EQ(split(word, "Removed", true, "ab, cd"), "ab@0-2|cd@4-6");
    EXPECT_EQ(split(word, "Contiguous", true, "ab, cd"), "ab@0-2|, @2-4|cd@4-6");
}

TEST(PreTokenizer, SplitWithEmptyMatches) {
    EXPECT_EQ(split(R"({"Regex":"x*"})", "Isolated", false, "éxxb"), "é@0-2|xx@2-4|b@4-5");
}

TEST(PreTokenizer, Digits) {
    EXPECT_EQ(words(R"({"type":"Digits","individual_digits":true})", "a12٣"), "a@0-1|1@1-2|2@2-3|٣@3-5");
    EXPECT_EQ(words(R"({"type":"Digits","individual_digits":false})", "a12٣b"), "a@0-1|12٣@1-5|b@5-6");
}

TEST(PreTokenizer, ByteLevelSplits) {
    EXPECT_EQ(words(R"({"type":"ByteLevel","add_prefix_space":false})", "I'm  here 42!"),
              "I@0-1|'m@1-3| @3-4| here@4-9| 42@9-12|!@12-13");
    EXPECT_EQ(words(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})", "I'm here"), "I'm here@0-8");
}

TEST(PreTokenizer, PrefixSpaceSharesTheFirstCodePoint) {
    EXPECT_EQ(words(R"({"type":"ByteLevel"})", "éa b"), " éa@0-3| b@3-5");
    EXPECT_EQ(words(R"({"type":"ByteLevel"})", " a"), " a@0-2");
    EXPECT_EQ(words(R"({"type":"ByteLevel"})", "\na"), " @0-1|\n@0-1|a@1-2");
}

TEST(PreTokenizer, Sequence) {
    EXPECT_EQ(words(R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
                        {"type":"ByteLevel","add_prefix_space":false}]})",
                    "on 42"),
              "on@0-2| @2-3|4@3-4|2@4-5");
    EXPECT_EQ(words("null", "a b"), "a b@0-3");
}

TEST(PreTokenizer, Refusals) {
    const auto message = [](std::string_view component) {
        return test::refusal([&] { make_pre_tokenizers(test::json(component)); });
    };
    EXPECT_EQ(message(R"({"type":"Metaspace"})"),
              "tokenizer.json: pre_tokenizer Metaspace is not supported (ByteLevel, Digits, Split and Sequence are)");
    EXPECT_NE(message(R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]})")
                  .find("Digits after ByteLevel"),
              std::string::npos);
    EXPECT_NE(message(R"({"type":"Split","pattern":{"String":""},"behavior":"Removed"})").find("not empty"),
              std::string::npos);
    EXPECT_NE(message(R"({"type":"Split","pattern":{"String":"a"},"behavior":"Kept"})").find("\"Kept\""),
              std::string::npos);
}

}   // namespace
}   // namespace trainer
