#pragma once

#include "configs/node.h"

namespace trainer {

// How the texts of tokens become the decoded text ("decoder" of tokenizer.json).
enum class Decoder {
    spaced,       // null: joined by single spaces
    fused,        // Fuse: joined
    byte_level,   // ByteLevel: letters of the byte-level alphabet back to bytes, then joined
};

// null, ByteLevel, Fuse, Sequence; Error(bad_data) names any other.
Decoder make_decoder(const Node& value);

}   // namespace trainer
