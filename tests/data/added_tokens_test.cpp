#include "data/added_tokens.h"

#include <gtest/gtest.h>

namespace trainer {
namespace {

AddedToken token(std::int32_t id, const std::string& content) {
    AddedToken made;
    made.id = id;
    made.content = content;
    return made;
}

// "text", or "<id:text>" for an added token, joined by "|"
std::string parts(const std::vector<AddedToken>& tokens, const std::string& text) {
    std::vector<AddedTokenFinder::Part> found;
    AddedTokenFinder(tokens).split(text, found);
    std::string shown;
    for (const auto& part : found) {
        const std::string piece = text.substr(part.begin, part.end - part.begin);
        shown += (shown.empty() ? "" : "|") + (part.id < 0 ? piece : "<" + std::to_string(part.id) + ":" + piece + ">");
    }
    return shown;
}

TEST(AddedTokens, LeftmostThenLongest) {
    EXPECT_EQ(parts({token(1, "ab"), token(2, "abcd"), token(3, "bcdef")}, "xabcdefab"), "x|<2:abcd>|ef|<1:ab>");
    EXPECT_EQ(parts({token(1, "ab"), token(2, "abcd")}, "abc"), "<1:ab>|c");
    EXPECT_EQ(parts({token(1, "é")}, "aéé"), "a|<1:é>|<1:é>");
    EXPECT_EQ(parts({token(1, "ab")}, ""), "");
    EXPECT_EQ(parts({}, "ab"), "ab");
}

TEST(AddedTokens, SingleWordIsNotRetriedShorter) {
    AddedToken word = token(2, "ab");
    word.single_word = true;
    EXPECT_EQ(parts({word}, "ab cab ab-é"), "<2:ab>| cab |<2:ab>|-é");
    EXPECT_EQ(parts({word}, "abé ab\u0301 ab"), "abé ab\u0301 |<2:ab>");
    EXPECT_EQ(parts({word, token(1, "a")}, "abc"), "abc");
}

TEST(AddedTokens, StripsTakeWhiteSpace) {
    AddedToken left = token(1, "<m>"), right = token(2, "<r>");
    left.lstrip = true;
    right.rstrip = true;
    EXPECT_EQ(parts({left}, "a \u3000<m> b"), "a|<1: \u3000<m>>| b");
    EXPECT_EQ(parts({right}, "a <r> \n b"), "a |<2:<r> \n >|b");
    EXPECT_EQ(parts({left, right}, "<r>  <m>"), "<2:<r>  >|<1:<m>>");
    EXPECT_EQ(parts({right, token(3, " ")}, "<r>  a b"), "<2:<r>  >|a|<3: >|b");
    EXPECT_EQ(parts({right, token(3, " b")}, "<r>  b"), "<2:<r>  >|<3:b>");   // its space is taken
    AddedToken space = token(4, " ");
    space.lstrip = space.rstrip = true;
    EXPECT_EQ(parts({space}, "a" + std::string(100000, ' ')), "a|<4:" + std::string(100000, ' ') + ">");
}

}   // namespace
}   // namespace trainer
