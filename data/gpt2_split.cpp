#include "data/gpt2_split.h"

#include <array>
#include <cstdint>

#include "data/unicode.h"

namespace trainer {

namespace {

enum class Class : std::uint8_t { letter, number, space, other };

constexpr std::array<Class, 128> ascii_classes() {
    std::array<Class, 128> table{};
    for (int c = 0; c < 128; ++c) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool number = c >= '0' && c <= '9';
        const bool space = c == ' ' || (c >= '\t' && c <= '\r');
        table[static_cast<std::size_t>(c)] = letter   ? Class::letter
                                             : number ? Class::number
                                             : space  ? Class::space
                                                      : Class::other;
    }
    return table;
}

struct Next {
    Class kind;
    std::size_t length;
};

Next next_at(std::string_view text, std::size_t at) {
    static constexpr std::array<Class, 128> ascii = ascii_classes();
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return {ascii[byte], 1};
    const unicode::Decoded decoded = unicode::decode(text.substr(at));
    const auto length = static_cast<std::size_t>(decoded.length);
    if (unicode::is_letter(decoded.point)) return {Class::letter, length};
    if (unicode::is_number(decoded.point)) return {Class::number, length};
    return {unicode::is_space(decoded.point) ? Class::space : Class::other, length};
}

// 's 't 're 've 'm 'll 'd: their length, or 0.
std::size_t contraction(std::string_view text) {
    if (text.size() < 2) return 0;
    switch (text[1]) {
        case 's':
        case 't':
        case 'm':
        case 'd':
            return 2;
        case 'r':
        case 'v':
            return text.size() > 2 && text[2] == 'e' ? 3 : 0;
        case 'l':
            return text.size() > 2 && text[2] == 'l' ? 3 : 0;
        default:
            return 0;
    }
}

// A run of white space ends before its last code point when something else follows (`\s+(?!\S)`), unless that is all.
std::size_t white_space(std::string_view text) {
    std::size_t end = 0, last = 0;
    while (end < text.size()) {
        const Next next = next_at(text, end);
        if (next.kind != Class::space) return last > 0 ? last : end;
        last = end;
        end += next.length;
    }
    return end;
}

}   // namespace

std::size_t gpt2_match(std::string_view text) {
    if (text[0] == '\'')
        if (const std::size_t length = contraction(text); length > 0) return length;
    std::size_t at = text[0] == ' ' && text.size() > 1 ? 1 : 0;
    const Next first = next_at(text, at);
    if (first.kind == Class::space) return white_space(text);
    at += first.length;
    while (at < text.size()) {
        const Next next = next_at(text, at);
        if (next.kind != first.kind) break;
        at += next.length;
    }
    return at;
}

}   // namespace trainer
