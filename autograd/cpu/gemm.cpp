#include "autograd/cpu/gemm.h"

#include <algorithm>

#include "autograd/cpu/gemm_tile.h"
#include "configs/error.h"

namespace trainer {

namespace {

std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

// `size` cut into tiles; the last may be shorter.
struct Cut {
    std::int64_t size;
    std::int64_t tile;
    std::int64_t parts() const { return divide_up(size, tile); }
    std::int64_t begin(std::int64_t index) const { return index * tile; }
    std::int64_t length(std::int64_t index) const { return std::min(tile, size - index * tile); }
};

struct Tiling {
    Cut rows;
    Cut columns;
    std::int64_t count() const { return rows.parts() * columns.parts(); }
};

// Tiles are chosen by the shape alone. A tile packs its part of b once, so tiles are long in M; columns are cut first,
// which costs nothing, until there is work for many threads.
Tiling tiling(std::int64_t rows, std::int64_t columns) {
    constexpr std::int64_t enough = 16;
    Tiling tiles{{rows, 256}, {columns, 192}};
    if (tiles.count() < enough) tiles.columns.tile = 64;
    while (tiles.count() < enough && tiles.rows.tile > 64) tiles.rows.tile /= 2;
    return tiles;
}

TileShape shape_of(const MatrixView& c, const MatrixView& a, bool transpose_a, const MatrixView& b, bool transpose_b,
                   bool accumulate) {
    return {.rows = c.rows,
            .columns = c.columns,
            .depth = transpose_a ? a.rows : a.columns,
            .a_stride = a.stride,
            .b_stride = b.stride,
            .c_stride = c.stride,
            .in = a.dtype,
            .out = c.dtype,
            .transpose_a = transpose_a,
            .transpose_b = transpose_b,
            .accumulate = accumulate};
}

void check_shapes(const MatrixView& c, const MatrixView& a, bool transpose_a, const MatrixView& b, bool transpose_b) {
    const std::int64_t a_rows = transpose_a ? a.columns : a.rows, a_depth = transpose_a ? a.rows : a.columns;
    const std::int64_t b_depth = transpose_b ? b.columns : b.rows, b_columns = transpose_b ? b.rows : b.columns;
    check(c.rows == a_rows && c.columns == b_columns && a_depth == b_depth, "gemm: ({}, {}) · ({}, {}) into ({}, {})",
          a_rows, a_depth, b_depth, b_columns, c.rows, c.columns);
    const auto is_float = [](DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; };
    check(a.dtype == b.dtype && is_float(a.dtype) && is_float(c.dtype), "gemm: {} · {} into {}", name_of(a.dtype),
          name_of(b.dtype), name_of(c.dtype));
}

void* element(const MatrixView& matrix, std::int64_t row, std::int64_t column) {
    return static_cast<std::byte*>(matrix.data) +
           static_cast<std::size_t>(row * matrix.stride + column) * size_of(matrix.dtype);
}

// With nothing to sum over the product is zero.
void clear(const MatrixView& c) {
    for (std::int64_t row = 0; row < c.rows; ++row)
        std::fill_n(static_cast<std::byte*>(element(c, row, 0)), static_cast<std::size_t>(c.columns) * size_of(c.dtype),
                    std::byte{0});
}

MatrixView view_of(const Tensor& tensor) {
    const std::int64_t stride = tensor.rows() > 1 ? tensor.stride() : tensor.columns();
    return {tensor.raw(), tensor.dtype(), tensor.rows(), tensor.columns(), stride};
}

}   // namespace

void gemm(Cpu cpu, const MatrixView& c, const MatrixView& a, bool transpose_a, const MatrixView& b, bool transpose_b,
          bool accumulate) {
    static_cast<void>(cpu);
    check_shapes(c, a, transpose_a, b, transpose_b);
    TileShape whole = shape_of(c, a, transpose_a, b, transpose_b, accumulate);
    if (whole.rows == 0 || whole.columns == 0) return;
    if (whole.depth == 0) {
        if (!accumulate) clear(c);
        return;
    }
    const Tiling tiles = tiling(whole.rows, whole.columns);
    const auto tile_shape = [&](std::int64_t row_part, std::int64_t column_part) {
        TileShape shape = whole;
        shape.rows = tiles.rows.length(row_part);
        shape.columns = tiles.columns.length(column_part);
        return shape;
    };
    const std::int64_t row_parts = tiles.rows.parts(), column_parts = tiles.columns.parts();
    for (const std::int64_t row_part : {std::int64_t{0}, row_parts - 1})   // errors must not leave a parallel region
        for (const std::int64_t column_part : {std::int64_t{0}, column_parts - 1})
            prepare_tile(tile_shape(row_part, column_part));
#pragma omp parallel for collapse(2) schedule(dynamic, 1) if (tiles.count() > 1)
    for (std::int64_t row_part = 0; row_part < row_parts; ++row_part)
        for (std::int64_t column_part = 0; column_part < column_parts; ++column_part) {
            const std::int64_t row = tiles.rows.begin(row_part), column = tiles.columns.begin(column_part);
            run_tile(tile_shape(row_part, column_part), element(c, row, column),
                     transpose_a ? element(a, 0, row) : element(a, row, 0),
                     transpose_b ? element(b, column, 0) : element(b, 0, column));
        }
}

void gemm(Cpu cpu, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate) {
    gemm(cpu, view_of(c), view_of(a), transpose_a, view_of(b), transpose_b, accumulate);
}

void gemm_serial(const MatrixView& c, const MatrixView& a, bool transpose_a, const MatrixView& b, bool transpose_b,
                 bool accumulate) {
    check_shapes(c, a, transpose_a, b, transpose_b);
    const TileShape shape = shape_of(c, a, transpose_a, b, transpose_b, accumulate);
    if (shape.rows == 0 || shape.columns == 0) return;
    if (shape.depth > 0) {
        run_tile(shape, c.data, a.data, b.data);
    } else if (!accumulate) {
        clear(c);
    }
}

}   // namespace trainer
