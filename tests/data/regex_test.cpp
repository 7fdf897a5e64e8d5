#include "data/regex.h"

#include <gtest/gtest.h>

#include <random>

#include "configs/utf8.h"
#include "data/gpt2_split.h"
#include "data/regex_syntax.h"
#include "data/unicode.h"
#include "tests/data/tokenizer_fixture.h"

namespace trainer {
namespace {

bool matches(const std::string& pattern, const std::string& text) {
    const auto match = Regex(pattern).search(text, 0);
    return match && match->begin == 0 && match->end == text.size();
}

TEST(Regex, PropertiesAreOfUnicode16) {
    std::string late_letter, late_digit;
    append_utf8(late_letter, 0x31350);   // 15.0
    append_utf8(late_digit, 0x16D70);    // 16.0
    EXPECT_TRUE(matches(R"(\p{L})", late_letter));
    EXPECT_TRUE(matches(R"([\p{L}])", late_letter));
    EXPECT_TRUE(matches(R"([\p{Lo}x])", late_letter));
    EXPECT_FALSE(matches(R"(\P{L})", late_letter));
    EXPECT_FALSE(matches(R"([^\s\p{L}\p{N}])", late_letter));
    EXPECT_TRUE(matches(R"(\p{^L})", late_digit));
    EXPECT_TRUE(matches(R"(\d)", late_digit));
    EXPECT_TRUE(matches(R"(\w)", "\u0301"));   // a mark is a word character
    EXPECT_FALSE(matches(R"(\w)", "½"));
    EXPECT_TRUE(matches(R"(\S)", "\u180E"));
    EXPECT_TRUE(matches(R"([\S])", "\u180E"));
    EXPECT_TRUE(matches(R"([\s]+)", "\u3000\u2003 \n"));
}

TEST(Regex, ClassesAgreeWithTheTableOnEveryCodePoint) {
    const Regex letter(R"(\p{L})"), number(R"([\p{N}])"), space(R"(\s)"), not_space(R"([\S])"), mark(R"([\p{M}])");
    std::string text;
    for (char32_t point = 0; point < 0x110000; ++point) {
        if (point >= 0xD800 && point < 0xE000) continue;
        text.clear();
        append_utf8(text, point);
        ASSERT_EQ(letter.search(text, 0).has_value(), unicode::is_letter(point)) << static_cast<unsigned>(point);
        ASSERT_EQ(number.search(text, 0).has_value(), unicode::is_number(point)) << static_cast<unsigned>(point);
        ASSERT_EQ(space.search(text, 0).has_value(), unicode::is_space(point)) << static_cast<unsigned>(point);
        ASSERT_EQ(not_space.search(text, 0).has_value(), !unicode::is_space(point)) << static_cast<unsigned>(point);
        ASSERT_EQ(mark.search(text, 0).has_value(), unicode::kind(point) == unicode::Kind::mark)
            << static_cast<unsigned>(point);
    }
}

TEST(Regex, CaselessFoldsAsUnicodeDoes) {
    EXPECT_TRUE(matches("(?i:'s|'t)", "'ſ"));
    EXPECT_TRUE(matches("(?i:'S|'T)", "'t"));
}

TEST(Regex, IntervalsAndLiteralBraces) {
    EXPECT_TRUE(matches("a{,2}", "aa"));
    EXPECT_FALSE(matches("a{2,3}", "a"));
    EXPECT_TRUE(matches("a{x}", "a{x}"));
    EXPECT_EQ(pcre2_pattern("a{,2}"), "a{0,2}");
}

TEST(Regex, RefusesWhatEnginesReadDifferently) {
    for (const char* pattern : {"[a[bc]]",   "[a&&b]", "[[:alpha:]]", R"(\p{Han})", R"(\p{Foo})", R"(\pL)", R"(\h)",
                                R"(\bword)", "(?m:.)", "(?<name>a)",  R"([\P{L}])", R"([^\W])",   R"(\1)",  "[]a]",
                                "[a",        "a\\",    R"(\x{)",      R"(\xff)",    "a{1,2}+",    "(?#x)"}) {
        const std::string message = test::refusal([&] { Regex regex{pattern}; });
        EXPECT_NE(message.find(std::string("regular expression ") + pattern), std::string::npos) << message;
        EXPECT_NE(message.find("not supported"), std::string::npos) << message;
    }
    EXPECT_NE(test::refusal([] { Regex regex{"(a"}; }), "");
}

TEST(Regex, HostilePatternEndsInAnError) {
    const Regex regex("(?:a+)+[^a\\s\\S]");
    EXPECT_NE(test::refusal([&] { regex.search(std::string(60, 'a'), 0); }).find("limit"), std::string::npos);
}

std::string random_text(std::mt19937& random) {
    static const std::vector<std::string> bits = {" ",   "  ",     "\n",     "\t", "'",  "'s",    "'ll",
                                                  "'re", "'v",     "a",      "Zz", "7",  "٣",     "½",
                                                  "!",   "\u00A0", "\u3000", "é",  "中", "\u0301"};
    std::string text;
    for (auto count = random() % 20 + 1; count > 0; --count) {
        if (random() % 3 > 0) {
            text += bits[random() % bits.size()];
        } else {
            const auto point = random() % (random() % 2 == 0 ? 0x3000 : 0x110000);
            if (point < 0xD800 || point >= 0xE000) append_utf8(text, static_cast<unsigned>(point));
        }
    }
    return text;
}

TEST(Gpt2Split, EqualsItsRegex) {
    const Regex regex{std::string(gpt2_pattern)};
    std::mt19937 random(1);
    for (int i = 0; i < 100000; ++i) {
        const std::string text = random_text(random);
        for (std::size_t at = 0; at < text.size();) {
            const auto match = regex.search(text, at);
            ASSERT_TRUE(match && match->begin == at) << text;
            ASSERT_EQ(gpt2_match(std::string_view(text).substr(at)), match->end - at) << text << " at " << at;
            at = match->end;
        }
    }
}

TEST(Gpt2Split, EqualsItsRegexOnEveryCodePoint) {
    const Regex regex{std::string(gpt2_pattern)};
    for (unsigned point = 0; point < 0x110000; ++point) {
        if (point >= 0xD800 && point < 0xE000) continue;
        std::string text = " ";
        append_utf8(text, point);
        append_utf8(text, point);
        text += "a1";
        for (std::size_t at = 0; at < text.size(); at += gpt2_match(std::string_view(text).substr(at)))
            ASSERT_EQ(gpt2_match(std::string_view(text).substr(at)), regex.search(text, at)->end - at) << point;
    }
}

}   // namespace
}   // namespace trainer
