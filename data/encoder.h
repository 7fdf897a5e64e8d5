#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "configs/node.h"
#include "data/example.h"
#include "data/formats/format.h"
#include "data/options.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace trainer {

// A row turned into tokens, before truncation.
struct EncodedRow {
    std::string text;                    // rendered, without an appended EOS
    std::vector<std::int32_t> ids;       // an appended EOS included
    std::vector<std::uint8_t> trained;   // per token
    std::int64_t boundary_tokens = 0;    // tokens that straddle the edge of a trained span; they are not trained
    std::int64_t first_end = -1;         // index of the first trained EOS or end-of-turn token; -1: none
};

// Rows to tokens and labels by the rules of docs/semantics.md. Immutable; usable from several
// threads.
class Encoder {
public:
    struct Special {
        std::int32_t bos = -1;   // -1: there is none
        std::int32_t eos = -1;
        Node variables;   // bos_token, eos_token … as the template sees them, a map
    };

    // `chat` may be null when no row is a chat; a chat row is then an Error(bad_data). All must outlive the encoder.
    Encoder(const Tokenizer& tokenizer, const ChatTemplate* chat, Special special, EncodeOptions options);

    // Error(bad_data) without file and row.
    EncodedRow encode(const FormattedRow& row) const;

    const EncodeOptions& options() const { return options_; }

private:
    EncodedRow encode_chat(const FormattedRow& row) const;
    EncodedRow encode_plain(const FormattedRow& row) const;

    const Tokenizer& tokenizer_;
    const ChatTemplate* chat_;
    Special special_;
    EncodeOptions options_;
};

// bos, eos and the template's variables from tokenizer_config.json; `eos_override` (data.eos_token) wins when not "".
// Error(bad_data) when a token is not in the vocabulary.
Encoder::Special special_tokens(const Node& tokenizer_config, const Node& config, const Tokenizer& tokenizer,
                                const std::string& eos_override, std::vector<std::string>& warnings);

}   // namespace trainer
