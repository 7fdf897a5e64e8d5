#pragma once

#include <cstddef>
#include <string_view>

namespace trainer {

// The split of GPT-2 (the ByteLevel pre-tokenizer's regular expression).
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Length in bytes of the first match of gpt2_pattern in `text`, which begins at its first byte: every text is covered
// by matches. `text` is valid UTF-8 and not empty. The hand-written twin of Regex(gpt2_pattern).
std::size_t gpt2_match(std::string_view text);

}   // namespace trainer
