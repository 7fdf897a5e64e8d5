#pragma once

#include <cstdint>

#include "autograd/dtype.h"

namespace trainer {

// The piece of a product that one thread computes: c (M, N) = [c +] op(a) (M, K) · op(b) (K, N) on raw rows, all sizes
// at least 1. Strides are elements from one stored row to the next.
struct TileShape {
    std::int64_t rows;      // M
    std::int64_t columns;   // N
    std::int64_t depth;     // K
    std::int64_t a_stride;
    std::int64_t b_stride;
    std::int64_t c_stride;
    DType in;    // of a and b
    DType out;   // of c
    bool transpose_a;
    bool transpose_b;
    bool accumulate;
    friend bool operator==(const TileShape&, const TileShape&) = default;
};

// Makes ready what run_tile needs for this shape, once for all threads. Error(internal) when the library refuses.
void prepare_tile(const TileShape& shape);

// Computes one tile on the calling thread. The bits depend on the shape and the values only.
void run_tile(const TileShape& shape, void* c, const void* a, const void* b);

}   // namespace trainer
