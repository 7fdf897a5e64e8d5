#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Code points and their classes, Unicode 16.0: the version of the regex engine of huggingface/tokenizers.
namespace trainer::unicode {

// What a tokenizer asks of a code point: L*, M*, Nd, Nl, No, Pc, anything else.
enum class Kind : std::uint8_t { other, letter, mark, digit, letter_number, other_number, connector };

Kind kind(char32_t point);   // `point` up to 0x10FFFF

inline bool is_letter(char32_t point) { return kind(point) == Kind::letter; }
bool is_number(char32_t point);    // \p{N}
bool is_numeric(char32_t point);   // \p{N} of Unicode 17.0, which the Digits pre-tokenizer asks
bool is_space(char32_t point);     // White_Space
bool is_word(char32_t point);      // \w: Alphabetic, M, Nd, Pc, Join_Control

// Bytes [begin, begin + length) of a text that hold one code point.
struct Decoded {
    char32_t point;
    int length;
};

// The code point at `text[0]`; the text is valid UTF-8 and not empty.
Decoded decode(std::string_view text);
// The code point that ends the text; the text is valid UTF-8 and not empty.
Decoded decode_last(std::string_view text);

// Each maximal invalid part becomes one U+FFFD (Unicode 3.9, "substitution of maximal subparts").
std::string lossy(std::string_view bytes);
// Length of a trailing part that further bytes could complete to a code point: 0 to 3.
std::size_t incomplete_suffix(std::string_view bytes);

struct Range {
    char32_t first;
    char32_t last;   // included
};
const std::vector<Range>& ranges(Kind kind);   // sorted; empty for `other`

// Code points assigned after Unicode 14.0, with their general category ("Lu", "Nd", …).
struct Added {
    char32_t first;
    char32_t last;   // included
    const char* category;
};
const std::vector<Added>& added_after_14();

}   // namespace trainer::unicode
