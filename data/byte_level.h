#pragma once

#include <optional>
#include <string>
#include <string_view>

// The byte-level alphabet of GPT-2: each byte has a printable code point that stands for it in vocabularies.
// 0x21–0x7E, 0xA1–0xAC and 0xAE–0xFF stand for themselves, the other 68 bytes are U+0100, U+0101, … in order.
namespace trainer::byte_level {

// The code point of a byte as UTF-8: 0x20 → "Ġ".
const std::string& letter(unsigned char byte);

// The bytes a token stands for, or nothing when it holds a code point outside the alphabet.
std::optional<std::string> bytes_of(std::string_view token);

}   // namespace trainer::byte_level
