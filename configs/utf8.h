#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trainer {

// Offset of the first byte that is not part of well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms), or the
// size of the text when all of it is.
std::size_t first_invalid_utf8(std::string_view text);

// Appends the UTF-8 form of a code point (at most 0x10FFFF).
void append_utf8(std::string& out, unsigned code_point);

// Lines and columns of offsets in a text, both from 1. Columns count characters, not bytes. Offsets must be asked for
// in rising order; the whole text is then walked once.
class LineCounter {
public:
    explicit LineCounter(std::string_view text, int first_line = 1) : text_(text), line_(first_line) {}
    void advance(std::size_t offset) {
        for (; next_ < offset && next_ < text_.size(); ++next_) {
            const char c = text_[next_];
            if (c == '\n') {
                ++line_;
                column_ = 1;
            } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {
                ++column_;
            }
        }
    }
    int line() const { return line_; }
    int column() const { return column_; }

private:
    std::string_view text_;
    std::size_t next_ = 0;
    int line_;
    int column_ = 1;
};

}   // namespace trainer
