#pragma once

#include <cstdint>

#include "autograd/place.h"
#include "autograd/tensor.h"

namespace trainer::cuda {

// Strides of the tensors whose rows are tokens.
struct TokenStrides {
    std::int64_t qkv = 0;
    std::int64_t out = 0;
    std::int64_t dqkv = 0;
    std::int64_t lse = 0;
    std::int64_t lse_begin = 0;   // the column of lse to begin with: an address of it need not be one of 16 bytes
};

// Where documents begin, in elements from the tensor's first: columns of batch + 1 numbers each, for qkv, out, dqkv and
// lse, and a column of their tokens; from one column to the next are so many numbers, a multiple of 16 bytes.
inline constexpr std::int64_t document_offsets_columns = 5;
constexpr std::int64_t document_offsets_column(std::int64_t batch) { return (batch + 4) / 4 * 4; }

// Of rows [first, first + documents) of Layout::document_table; the rest of the batch is empty and begins where the
// last of them ends.
void document_offsets(Cuda, const Tensor& document_table, std::int64_t first, std::int64_t documents,
                      std::int64_t batch, const TokenStrides& strides, std::int32_t* out);

}   // namespace trainer::cuda
