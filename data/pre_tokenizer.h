#pragma once

#include <memory>
#include <vector>

#include "configs/node.h"
#include "data/piece.h"

namespace trainer {

// Cuts a piece of text into the words that the model sees. Immutable; usable from several threads.
class PreTokenizer {
public:
    virtual ~PreTokenizer() = default;
    // Appends the parts of `piece`, none of them empty, in order.
    virtual void split(const Piece& piece, Arena& arena, std::vector<Piece>& out) const = 0;
};

// The stages of a "pre_tokenizer" value of tokenizer.json, in order: null, ByteLevel, Digits, Split, Sequence.
// `byte_level`: the words reach the model as bytes in the byte-level alphabet.
struct PreTokenizers {
    std::vector<std::unique_ptr<PreTokenizer>> stages;
    bool byte_level = false;
};

// Error(bad_data) names a component that is not supported.
PreTokenizers make_pre_tokenizers(const Node& value);

}   // namespace trainer
