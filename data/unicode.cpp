#include "data/unicode.h"

#include "configs/utf8.h"

namespace trainer::unicode {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";   // U+FFFD

std::vector<Kind> all_kinds() {
    std::vector<Kind> table(0x110000, Kind::other);
    for (Kind each : {Kind::letter, Kind::mark, Kind::digit, Kind::letter_number, Kind::other_number, Kind::connector})
        for (Range range : ranges(each))
            for (char32_t point = range.first; point <= range.last; ++point) table[point] = each;
    return table;
}

// The bytes at the front: a code point (valid), the start of one that the end cuts off (cut), or a maximal invalid
// part. `length` is never 0.
struct Front {
    enum class State { valid, cut, invalid } state;
    std::size_t length;
};

Front front(std::string_view bytes) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
    const unsigned char lead = at(0);
    if (lead < 0x80) return {Front::State::valid, 1};
    if (lead < 0xC2 || lead > 0xF4) return {Front::State::invalid, 1};
    const std::size_t need = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    unsigned char low = 0x80, high = 0xBF;   // bounds of the second byte
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
    for (std::size_t i = 1; i < need; ++i) {
        if (i == bytes.size()) return {Front::State::cut, i};
        if (at(i) < low || at(i) > high) return {Front::State::invalid, i};
        low = 0x80, high = 0xBF;
    }
    return {Front::State::valid, need};
}

}   // namespace

Kind kind(char32_t point) {
    static const std::vector<Kind> table = all_kinds();
    return table[point];
}

bool is_number(char32_t point) {
    const Kind found = kind(point);
    return found == Kind::digit || found == Kind::letter_number || found == Kind::other_number;
}

bool is_numeric(char32_t point) {
    return is_number(point) || (point >= 0x11DE0 && point <= 0x11DE9) || (point >= 0x16FF4 && point <= 0x16FF6);
}

bool is_space(char32_t point) {
    if (point < 0x80) return point == ' ' || (point >= '\t' && point <= '\r');
    return point == 0x85 || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

bool is_word(char32_t point) {
    const Kind found = kind(point);
    if (found != Kind::other && found != Kind::other_number) return true;
    return point == 0x200C || point == 0x200D || (point >= 0x24B6 && point <= 0x24E9) ||
           (point >= 0x1F130 && point <= 0x1F149) || (point >= 0x1F150 && point <= 0x1F169) ||
           (point >= 0x1F170 && point <= 0x1F189);
}

Decoded decode(std::string_view text) {
    const auto at = [&](std::size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[i])); };
    const char32_t lead = at(0);
    if (lead < 0x80) return {lead, 1};
    if (lead < 0xE0) return {(lead & 0x1F) << 6 | (at(1) & 0x3F), 2};
    if (lead < 0xF0) return {(lead & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
    return {(lead & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

Decoded decode_last(std::string_view text) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    return decode(text.substr(begin));
}

std::string lossy(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const std::size_t valid = first_invalid_utf8(bytes);
        text.append(bytes.substr(0, valid));
        bytes.remove_prefix(valid);
        if (bytes.empty()) break;
        text.append(replacement);
        bytes.remove_prefix(front(bytes).length);
    }
    return text;
}

std::size_t incomplete_suffix(std::string_view bytes) {
    for (std::size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
        const Front last = front(bytes.substr(bytes.size() - length));
        if (last.state == Front::State::cut && last.length == length) return length;
    }
    return 0;
}

}   // namespace trainer::unicode
