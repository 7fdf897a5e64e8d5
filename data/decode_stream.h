#pragma once

#include <cstdint>
#include <string>

#include "data/tokenizer.h"

namespace trainer {

// Decodes tokens as they come: what push and finish return, joined, is Tokenizer::decode of all ids. A code point is
// never split: its first bytes wait for the rest.
class DecodeStream {
public:
    DecodeStream(const Tokenizer& tokenizer, bool skip_special_tokens)
        : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

    // The text that is complete with this token; may be empty.
    std::string push(std::int32_t id);
    // What still waits (an unfinished code point becomes U+FFFD). The stream then begins anew.
    std::string finish();

private:
    const Tokenizer& tokenizer_;
    bool skip_special_tokens_;
    bool first_ = true;
    std::string waiting_;
};

}   // namespace trainer
