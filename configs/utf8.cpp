#include "configs/utf8.h"

#include <cstdint>
#include <cstring>

namespace trainer {

std::size_t first_invalid_utf8(std::string_view text) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    const std::size_t size = text.size();
    const auto continues = [&](std::size_t i) { return i < size && (bytes[i] & 0xC0) == 0x80; };
    std::size_t i = 0;
    while (i < size) {
        std::uint64_t eight;
        if (i + sizeof eight <= size) {
            std::memcpy(&eight, bytes + i, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        const unsigned char lead = bytes[i];
        if (lead < 0x80) {
            i += 1;
        } else if (lead >= 0xC2 && lead <= 0xDF && continues(i + 1)) {
            i += 2;
        } else if (lead >= 0xE0 && lead <= 0xEF && continues(i + 1) && continues(i + 2)) {
            if (lead == 0xE0 && bytes[i + 1] < 0xA0) return i;   // overlong
            if (lead == 0xED && bytes[i + 1] > 0x9F) return i;   // surrogates
            i += 3;
        } else if (lead >= 0xF0 && lead <= 0xF4 && continues(i + 1) && continues(i + 2) && continues(i + 3)) {
            if (lead == 0xF0 && bytes[i + 1] < 0x90) return i;   // overlong
            if (lead == 0xF4 && bytes[i + 1] > 0x8F) return i;   // beyond U+10FFFF
            i += 4;
        } else {
            return i;
        }
    }
    return size;
}

void append_utf8(std::string& out, unsigned code_point) {
    const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xC0 | code_point >> 6);
        put(0x80 | (code_point & 0x3F));
    } else if (code_point < 0x10000) {
        put(0xE0 | code_point >> 12);
        put(0x80 | (code_point >> 6 & 0x3F));
        put(0x80 | (code_point & 0x3F));
    } else {
        put(0xF0 | code_point >> 18);
        put(0x80 | (code_point >> 12 & 0x3F));
        put(0x80 | (code_point >> 6 & 0x3F));
        put(0x80 | (code_point & 0x3F));
    }
}

}   // namespace trainer
