#include "autograd/cuda/device.h"
#include "autograd/ops/block_rotation_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr int threads = 256;
constexpr int tile = 32;
constexpr int padded = tile + 1;
constexpr int tile_rows = threads / tile;   // of a tile at once

struct Matrices {
    float* first;
    std::int64_t step;
    std::int64_t stride;
    bool transposed;

    __device__ float* at(std::int64_t which, std::int64_t row, std::int64_t column) const {
        return first + which * step + (transposed ? column * stride + row : row * stride + column);
    }
};

struct Sides {
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t depth;
    std::int64_t row_tiles;
};

// to[i][j] = the element (row + i, column + j), 0 outside; neighbouring threads read neighbouring addresses.
__device__ void load_tile(const Matrices& from, std::int64_t which, std::int64_t row, std::int64_t column,
                          std::int64_t rows, std::int64_t columns, float* to) {
    const int x = static_cast<int>(threadIdx.x) % tile, y = static_cast<int>(threadIdx.x) / tile;
    for (int k = y; k < tile; k += tile_rows) {
        const int i = from.transposed ? x : k, j = from.transposed ? k : x;
        const bool inside = row + i < rows && column + j < columns;
        to[i * padded + j] = inside ? *from.at(which, row + i, column + j) : 0.0f;
    }
}

// A block for a tile of 32 by 32 of one product; a thread has one column of it and every eighth row.
__global__ void product_kernel(Matrices c, Matrices a, Matrices b, Sides sides, bool accumulate) {
    float* a_tile = shared_memory<float>();
    float* b_tile = a_tile + tile * padded;
    const std::int64_t which = blockIdx.x / sides.row_tiles;
    const std::int64_t row = blockIdx.x % sides.row_tiles * tile;
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.y) * tile;
    const int x = static_cast<int>(threadIdx.x) % tile, y = static_cast<int>(threadIdx.x) / tile;
    float sums[tile / tile_rows] = {};
    for (std::int64_t k = 0; k < sides.depth; k += tile) {
        load_tile(a, which, row, k, sides.rows, sides.depth, a_tile);
        load_tile(b, which, k, column, sides.depth, sides.columns, b_tile);
        __syncthreads();
        for (int inner = 0; inner < tile; ++inner)
            for (int i = 0; i < tile / tile_rows; ++i)
                sums[i] += a_tile[(y + i * tile_rows) * padded + inner] * b_tile[inner * padded + x];
        __syncthreads();
    }
    if (column + x >= sides.columns) return;
    for (int i = 0; i < tile / tile_rows; ++i) {
        const std::int64_t r = row + y + i * tile_rows;
        if (r >= sides.rows) return;
        float* to = c.at(which, r, column + x);
        *to = accumulate ? *to + sums[i] : sums[i];
    }
}

__global__ void identity_kernel(float* out, std::int64_t n, std::int64_t elements, float factor) {
    const std::int64_t at = grid_thread();
    if (at < elements) out[at] = at / n % n == at % n ? factor : 0.0f;
}

__global__ void scaled_kernel(float* out, const float* in, std::int64_t elements, float factor) {
    const std::int64_t at = grid_thread();
    if (at < elements) out[at] = factor * in[at];
}

// Where a row of elements above the diagonal has (i, j), i < j.
__device__ std::int64_t upper_index(std::int64_t n, std::int64_t i, std::int64_t j) {
    return i * n - i * (i + 1) / 2 + (j - i - 1);
}

__global__ void skew_kernel(float* out, Rows<const float> upper, std::int64_t n, std::int64_t elements) {
    const std::int64_t at = grid_thread();
    if (at >= elements) return;
    const std::int64_t i = at / n % n, j = at % n;
    const float* from = upper.row(at / (n * n));
    out[at] = i == j ? 0.0f : i < j ? from[upper_index(n, i, j)] : -from[upper_index(n, j, i)];
}

__global__ void add_skew_kernel(const float* change, Rows<float> upper, std::int64_t n, std::int64_t elements) {
    const std::int64_t at = grid_thread();
    if (at >= elements) return;
    const std::int64_t i = at / n % n, j = at % n;
    if (i >= j) return;
    const float* block = change + at / (n * n) * (n * n);
    upper.row(at / (n * n))[upper_index(n, i, j)] += block[i * n + j] - block[j * n + i];
}

Grid grid_for(const Tensor& tensor) { return {.blocks = blocks_for(tensor.elements(), threads), .threads = threads}; }
Matrices matrices(const MatrixRow& of, bool transposed) {
    return {of.all.data<float>(), of.across ? of.step : of.step * of.all.stride(), of.all.stride(), transposed};
}
std::int64_t rows_of_one(const MatrixRow& of) { return of.across ? of.all.rows() : of.step; }
std::int64_t columns_of_one(const MatrixRow& of) { return of.across ? of.step : of.all.columns(); }

}   // namespace

void block_products(Cuda place, std::int64_t count, const MatrixRow& c, const MatrixRow& a, bool transpose_a,
                    const MatrixRow& b, bool transpose_b, bool accumulate) {
    const Sides sides{.rows = rows_of_one(c),
                      .columns = columns_of_one(c),
                      .depth = transpose_a ? rows_of_one(a) : columns_of_one(a),
                      .row_tiles = blocks_for(rows_of_one(c), tile)};
    const Grid grid{.blocks = count * sides.row_tiles,
                    .threads = threads,
                    .shared_bytes = 2 * tile * padded * sizeof(float),
                    .blocks_y = blocks_for(sides.columns, tile)};
    launch(place, grid, product_kernel, matrices(c, false), matrices(a, transpose_a), matrices(b, transpose_b), sides,
           accumulate);
}

void set_identity(Cuda place, Tensor& out, float factor) {
    launch(place, grid_for(out), identity_kernel, out.data<float>(), out.columns(), out.elements(), factor);
}

void set_scaled(Cuda place, Tensor& out, const Tensor& in, float factor) {
    launch(place, grid_for(out), scaled_kernel, out.data<float>(), in.data<float>(), out.elements(), factor);
}

void set_skew(Cuda place, Tensor& out, const Tensor& upper) {
    launch(place, grid_for(out), skew_kernel, out.data<float>(), rows_of<const float>(upper), out.columns(),
           out.elements());
}

void add_skew(Cuda place, const Tensor& change, Tensor& upper) {
    launch(place, grid_for(change), add_skew_kernel, change.data<float>(), rows_of<float>(upper), change.columns(),
           change.elements());
}

}   // namespace trainer
