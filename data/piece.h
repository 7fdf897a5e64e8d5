#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace trainer {

// Bytes [begin, end) of the original text.
struct Span {
    std::int32_t begin;
    std::int32_t end;
};

// A part of the text on its way through normalizer and pre-tokenizers, and where its bytes came from: byte i from
// `spans[i]` where the text was changed, else (`spans` null) from byte origin + i.
struct Piece {
    std::string_view text;
    std::int32_t origin = 0;
    const Span* spans = nullptr;

    Piece part(std::size_t begin, std::size_t end) const {
        return {text.substr(begin, end - begin), origin + static_cast<std::int32_t>(begin),
                spans == nullptr ? nullptr : spans + begin};
    }
    // Where bytes [begin, end) came from; begin < end.
    Span source(std::size_t begin, std::size_t end) const {
        if (spans != nullptr) return {spans[begin].begin, spans[end - 1].end};
        return {origin + static_cast<std::int32_t>(begin), origin + static_cast<std::int32_t>(end)};
    }
};

// A text that a component made, with the source of each byte.
struct Changed {
    std::string text;
    std::vector<Span> spans;
    Piece piece() const { return {text, 0, spans.data()}; }
};

// Keeps the changed texts alive (and in place) that pieces point into.
using Arena = std::deque<Changed>;

}   // namespace trainer
