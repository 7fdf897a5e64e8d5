#include "data/byte_level.h"

#include <array>

#include "configs/utf8.h"
#include "data/unicode.h"

namespace trainer::byte_level {

namespace {

constexpr char32_t alphabet_end = 0x100 + 68;

struct Alphabet {
    std::array<std::string, 256> letters;
    std::array<int, alphabet_end> bytes;   // -1: no letter

    Alphabet() {
        bytes.fill(-1);
        char32_t next = 0x100;
        for (int byte = 0; byte < 256; ++byte) {
            const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
            const char32_t point = printable ? static_cast<char32_t>(byte) : next++;
            append_utf8(letters[static_cast<std::size_t>(byte)], point);
            bytes[point] = byte;
        }
    }
};

const Alphabet& alphabet() {
    static const Alphabet made;
    return made;
}

}   // namespace

const std::string& letter(unsigned char byte) { return alphabet().letters[byte]; }

std::optional<std::string> bytes_of(std::string_view token) {
    std::string bytes;
    while (!token.empty()) {
        const unicode::Decoded next = unicode::decode(token);
        if (next.point >= alphabet_end || alphabet().bytes[next.point] < 0) return std::nullopt;
        bytes.push_back(static_cast<char>(alphabet().bytes[next.point]));
        token.remove_prefix(static_cast<std::size_t>(next.length));
    }
    return bytes;
}

}   // namespace trainer::byte_level
