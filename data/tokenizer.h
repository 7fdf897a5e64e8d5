#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "configs/node.h"

namespace trainer {

// A token and the bytes of the input it came from, [begin, end): never trimmed, exact to the byte where a token holds a
// part of a code point. A token that a post-processor adds has begin == end: 0 before the text, its size after it.
struct Token {
    std::int32_t id;
    std::int32_t begin;
    std::int32_t end;
};

// Text to token ids and back, with the semantics of tokenizer.json (huggingface/tokenizers). Immutable after
// construction; encode and decode may be called from several threads.
class Tokenizer {
public:
    virtual ~Tokenizer() = default;

    // Special-token strings inside the text become their ids. With `add_special_tokens` the post-processor runs
    // (BOS, EOS …). Error(bad_data) when the text is not UTF-8.
    virtual std::vector<Token> encode(std::string_view text, bool add_special_tokens) const = 0;
    std::vector<std::int32_t> ids(std::string_view text, bool add_special_tokens) const;

    // Text of the ids as the tokenizer's decoder joins them; invalid UTF-8 becomes U+FFFD.
    virtual std::string decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const = 0;

    // The bytes that a token adds to the decoded text, "" for an unknown id; `first`: no token came before (decoders
    // that put spaces between tokens). decode() is the lossy text of all of them.
    virtual std::string bytes_of(std::int32_t id, bool first) const = 0;

    virtual std::int32_t vocab_size() const = 0;                    // highest id + 1, added tokens included
    virtual std::int32_t id_of(std::string_view token) const = 0;   // -1 when unknown
    virtual std::string token_of(std::int32_t id) const = 0;        // "" when unknown
    virtual bool is_special(std::int32_t id) const = 0;
};

// From the value of a tokenizer.json (hub/gguf builds the same value from GGUF metadata). Error(bad_data) names the
// component that is not supported.
std::unique_ptr<Tokenizer> make_tokenizer(const Node& tokenizer_json);

}   // namespace trainer
