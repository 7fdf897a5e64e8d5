#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/bpe.h"

namespace trainer {

// Remembers the tokens of short words: a fixed number of slots, the last word of a slot stays. Not thread-safe.
class WordCache {
public:
    // Appends the tokens and returns true when the word is known.
    bool find(std::string_view word, std::vector<Bpe::Part>& out) const;
    // Words too long, or with too many tokens, or with dropped letters are not kept.
    void store(std::string_view word, const Bpe::Part* parts, std::size_t count);

private:
    static constexpr std::size_t slot_count = 1 << 14;
    static constexpr std::size_t longest = 26;
    static constexpr std::size_t most_parts = 6;

    struct alignas(64) Slot {
        std::int32_t ids[most_parts];
        std::uint8_t ends[most_parts];
        std::uint8_t length = 0;   // 0: free
        std::uint8_t count = 0;
        char word[longest];
    };
    static std::size_t place(std::string_view word);
    std::vector<Slot> slots_{slot_count};
};

}   // namespace trainer
