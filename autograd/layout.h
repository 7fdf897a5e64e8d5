#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace trainer {

// Keys and values of earlier tokens of one sequence, per layer, for generation. Positions 0 … length-1 are filled.
struct KvCache {
    std::vector<Tensor> keys;   // one a layer, (capacity, K·D)
    std::vector<Tensor> values;
    std::int64_t length = 0;
    std::int64_t capacity = 0;
};

// What the N tokens of a micro-batch are. Document d covers tokens offsets[d] … offsets[d+1]-1; tokens attend within
// their document only. There is no padding.
struct Layout {
    enum class Kind { causal, bidirectional };
    Kind kind = Kind::causal;
    std::vector<std::int32_t> offsets{0};   // documents + 1
    Tensor positions;                       // (N) i32, position within the document
    Tensor token_keys;                      // (N) u64, random key of each token: (seed, epoch, row, position)
    Tensor spans;                           // (N, 2) i32 on a device: first and past the last token of its document
    std::vector<std::int32_t> by_length;    // on a device: the documents, in order of their length classes
    Tensor document_table;                  // on a device, (2 · documents, 2) i32: first token and tokens of the
                                            // documents in order, then by_length
    std::int32_t longest = 0;               // tokens of the longest document
    KvCache* cache = nullptr;               // one document whose first cache->length tokens are already there

    std::int64_t tokens() const { return offsets.back(); }
    std::int64_t documents() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
    std::int64_t tokens_of(std::int64_t document) const {
        return offsets[static_cast<std::size_t>(document) + 1] - offsets[static_cast<std::size_t>(document)];
    }
};

// Documents of up to 128, 256, 512, … tokens are of class 0, 1, 2, …
int length_class(std::int64_t tokens);

// Positions and keys where they are asked for, and what a device has besides if that is one; offsets stay on the host.
Layout on_place(const Layout& layout, Place place);

}   // namespace trainer
