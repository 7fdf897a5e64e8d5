#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainer {

// An entry of "added_tokens" in tokenizer.json.
struct AddedToken {
    std::int32_t id = 0;
    std::string content;        // what the search looks for
    bool single_word = false;   // only where no word character stands directly beside it
    bool lstrip = false;        // takes the white space on its left into the token
    bool rstrip = false;        // … on its right
    bool normalized = false;    // searched after the normalizer, else before
    bool special = false;       // left out by decode(skip_special_tokens)
};

// Finds added tokens in a text: leftmost first, the longest of those that begin there, without overlap.
class AddedTokenFinder {
public:
    explicit AddedTokenFinder(const std::vector<AddedToken>& tokens);

    struct Part {
        std::size_t begin;
        std::size_t end;
        std::int32_t id;   // -1: text between added tokens
    };
    // Appends parts that cover the text; none is empty.
    void split(std::string_view text, std::vector<Part>& out) const;

private:
    struct Found {
        std::size_t begin;
        std::size_t end;
        const AddedToken* token;
    };
    std::optional<Found> find(std::string_view text, std::size_t from) const;

    struct TrieNode {
        std::vector<std::pair<unsigned char, std::int32_t>> children;   // sorted by byte
        std::int32_t token = -1;
    };
    std::vector<AddedToken> tokens_;
    std::vector<TrieNode> trie_;
    std::array<bool, 256> begins_{};   // a token begins with this byte
};

}   // namespace trainer
