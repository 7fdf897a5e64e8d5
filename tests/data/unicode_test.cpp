#include "data/unicode.h"

#include <gtest/gtest.h>

#include "configs/utf8.h"
#include "data/byte_level.h"

namespace trainer {
namespace {

TEST(Unicode, KindsOfVersion16) {
    EXPECT_TRUE(unicode::is_letter(U'a'));
    EXPECT_TRUE(unicode::is_letter(0x4E2D));
    EXPECT_TRUE(unicode::is_letter(0x31350));   // assigned in 15.0
    EXPECT_TRUE(unicode::is_letter(0x1C89));    // assigned in 16.0
    EXPECT_FALSE(unicode::is_letter(0x0301));
    EXPECT_EQ(unicode::kind(0x0301), unicode::Kind::mark);
    EXPECT_TRUE(unicode::is_number(0x0665));     // ٥
    EXPECT_TRUE(unicode::is_number(0x2167));     // Ⅷ
    EXPECT_TRUE(unicode::is_number(0x00BD));     // ½
    EXPECT_FALSE(unicode::is_number(0x11DE0));   // 17.0
    EXPECT_TRUE(unicode::is_numeric(0x11DE0));
    EXPECT_EQ(unicode::kind(0x10FFFF), unicode::Kind::other);
}

TEST(Unicode, WhiteSpaceHas25CodePoints) {
    int count = 0;
    for (char32_t point = 0; point < 0x110000; ++point) count += unicode::is_space(point);
    EXPECT_EQ(count, 25);
    EXPECT_FALSE(unicode::is_space(0x200B));
    EXPECT_FALSE(unicode::is_space(0x180E));
}

TEST(Unicode, WordCharacters) {
    for (char32_t point : {U'_', U'5', U'é', char32_t{0x0301}, char32_t{0x200D}, char32_t{0x24B6}, char32_t{0x2167}})
        EXPECT_TRUE(unicode::is_word(point)) << std::hex << static_cast<unsigned>(point);
    for (char32_t point : {U'-', U' ', U'½', char32_t{0x200B}})
        EXPECT_FALSE(unicode::is_word(point)) << std::hex << static_cast<unsigned>(point);
}

TEST(Unicode, DecodesWhatWasEncoded) {
    for (char32_t point : {U'a', char32_t{0x7F}, char32_t{0x80}, char32_t{0x7FF}, char32_t{0x800}, char32_t{0xFFFF},
                           char32_t{0x10000}, char32_t{0x10FFFF}}) {
        std::string text = "é";
        append_utf8(text, point);
        EXPECT_EQ(unicode::decode(std::string_view(text).substr(2)).point, point);
        EXPECT_EQ(unicode::decode_last(text).point, point);
        EXPECT_EQ(static_cast<std::size_t>(unicode::decode_last(text).length), text.size() - 2);
    }
}

TEST(Unicode, LossyReplacesMaximalInvalidParts) {
    const std::string bad = "\xEF\xBF\xBD";
    EXPECT_EQ(unicode::lossy("a\xC3\xA9"), "a\xC3\xA9");
    EXPECT_EQ(unicode::lossy("\xE4\xB8"), bad);                   // one cut code point
    EXPECT_EQ(unicode::lossy("\xE4\xB8z"), bad + "z");            // … in the middle
    EXPECT_EQ(unicode::lossy("\xF0\x9F\x98\xF0"), bad + bad);     // a cut one and a cut one
    EXPECT_EQ(unicode::lossy("\xED\xA0\x80"), bad + bad + bad);   // a surrogate
    EXPECT_EQ(unicode::lossy("\xC0\xAF\xF5"), bad + bad + bad);   // overlong; beyond the last code point
    EXPECT_EQ(unicode::lossy("\x80\x80"), bad + bad);
}

TEST(Unicode, IncompleteSuffix) {
    EXPECT_EQ(unicode::incomplete_suffix(""), 0u);
    EXPECT_EQ(unicode::incomplete_suffix("abc"), 0u);
    EXPECT_EQ(unicode::incomplete_suffix("a\xC3"), 1u);
    EXPECT_EQ(unicode::incomplete_suffix("a\xE4\xB8"), 2u);
    EXPECT_EQ(unicode::incomplete_suffix("\xF0\x9F\x98"), 3u);
    EXPECT_EQ(unicode::incomplete_suffix("\xF0\x9F\x98\x80"), 0u);
    EXPECT_EQ(unicode::incomplete_suffix("\xE0\x80"), 0u);   // no code point begins so
    EXPECT_EQ(unicode::incomplete_suffix("\x80"), 0u);
}

TEST(ByteLevel, Alphabet) {
    EXPECT_EQ(byte_level::letter('A'), "A");
    EXPECT_EQ(byte_level::letter(' '), "Ġ");
    EXPECT_EQ(byte_level::letter('\n'), "Ċ");
    EXPECT_EQ(byte_level::letter(0x7F), "ġ");
    EXPECT_EQ(byte_level::letter(0xA0), "ł");
    EXPECT_EQ(byte_level::letter(0xAD), "Ń");
    EXPECT_EQ(byte_level::letter(0xFF), "ÿ");
    for (int byte = 0; byte < 256; ++byte)
        EXPECT_EQ(byte_level::bytes_of(byte_level::letter(static_cast<unsigned char>(byte))),
                  std::string(1, static_cast<char>(byte)));
    EXPECT_EQ(byte_level::bytes_of("a b"), std::nullopt);   // the space is no letter
    EXPECT_EQ(byte_level::bytes_of("中"), std::nullopt);
    EXPECT_EQ(byte_level::bytes_of(""), "");
}

}   // namespace
}   // namespace trainer
