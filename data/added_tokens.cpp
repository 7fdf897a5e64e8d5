#include "data/added_tokens.h"

#include <algorithm>

#include "data/unicode.h"

namespace trainer {

namespace {

// Start of the white space that ends the text.
std::size_t trailing_space(std::string_view text) {
    std::size_t begin = text.size();
    while (begin > 0) {
        const unicode::Decoded last = unicode::decode_last(text.substr(0, begin));
        if (!unicode::is_space(last.point)) break;
        begin -= static_cast<std::size_t>(last.length);
    }
    return begin;
}

// End of the white space that begins the text.
std::size_t leading_space(std::string_view text) {
    std::size_t end = 0;
    while (end < text.size()) {
        const unicode::Decoded next = unicode::decode(text.substr(end));
        if (!unicode::is_space(next.point)) break;
        end += static_cast<std::size_t>(next.length);
    }
    return end;
}

bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) {
    if (begin > 0 && unicode::is_word(unicode::decode_last(text.substr(0, begin)).point)) return false;
    return end == text.size() || !unicode::is_word(unicode::decode(text.substr(end)).point);
}

}   // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens) : tokens_(tokens), trie_(1) {
    for (std::size_t index = 0; index < tokens_.size(); ++index) {
        if (tokens_[index].content.empty()) continue;
        std::int32_t node = 0;
        for (char letter : tokens_[index].content) {
            const auto byte = static_cast<unsigned char>(letter);
            auto& children = trie_[static_cast<std::size_t>(node)].children;
            auto place = std::lower_bound(children.begin(), children.end(), std::pair(byte, std::int32_t{-1}));
            if (place == children.end() || place->first != byte) {
                node = static_cast<std::int32_t>(trie_.size());
                children.insert(place, {byte, node});
                trie_.emplace_back();
            } else {
                node = place->second;
            }
        }
        trie_[static_cast<std::size_t>(node)].token = static_cast<std::int32_t>(index);
        begins_[static_cast<unsigned char>(tokens_[index].content[0])] = true;
    }
}

std::optional<AddedTokenFinder::Found> AddedTokenFinder::find(std::string_view text, std::size_t from) const {
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        if (!begins_[static_cast<unsigned char>(text[begin])]) continue;
        std::int32_t node = 0, longest = -1;
        std::size_t end = begin;
        for (std::size_t at = begin; at < text.size(); ++at) {
            const auto& children = trie_[static_cast<std::size_t>(node)].children;
            const auto byte = static_cast<unsigned char>(text[at]);
            const auto child = std::lower_bound(children.begin(), children.end(), std::pair(byte, std::int32_t{-1}));
            if (child == children.end() || child->first != byte) break;
            node = child->second;
            if (trie_[static_cast<std::size_t>(node)].token >= 0) {
                longest = trie_[static_cast<std::size_t>(node)].token;
                end = at + 1;
            }
        }
        if (longest >= 0) return Found{begin, end, &tokens_[static_cast<std::size_t>(longest)]};
    }
    return std::nullopt;
}

void AddedTokenFinder::split(std::string_view text, std::vector<Part>& out) const {
    std::size_t done = 0, from = 0;
    while (const auto found = find(text, from)) {
        from = found->end;
        if (found->end <= done) continue;   // within the white space that the token before took
        if (found->token->single_word && !stands_alone(text, found->begin, found->end)) continue;
        std::size_t begin = found->begin, end = found->end;
        begin = std::max(begin, done);   // a token keeps the white space it took
        if (found->token->lstrip) begin = done + trailing_space(text.substr(done, begin - done));
        if (found->token->rstrip) end += leading_space(text.substr(end));
        if (done < begin) out.push_back({done, begin, -1});
        out.push_back({begin, end, found->token->id});
        done = end;
    }
    if (done < text.size()) out.push_back({done, text.size(), -1});
}

}   // namespace trainer
