#include "autograd/cpu/gemm.h"

#include <algorithm>
#include <exception>

#include "autograd/cpu/gemm_tile.h"
#include "autograd/cpu/gemv.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/cpu/signals_blocked.h"
#include "autograd/cuda/gemm.h"
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
    Cut depth;
    std::int64_t count() const { return rows.parts() * columns.parts() * depth.parts(); }
};

std::int64_t round_up(std::int64_t value, std::int64_t to) { return divide_up(value, to) * to; }

// Tiles are chosen by the shape alone: wide ones are fastest, and there should be work for many threads. A long sum
// with a small result (gradients of low-rank weights, of the hidden state of a language model's head) is cut into parts
// that are added up in order.
Tiling tiling(std::int64_t rows, std::int64_t columns, std::int64_t depth, bool transpose_a) {
    constexpr std::int64_t enough = 12, unit = 64, widest = 1024, shallowest = 256;
    const bool may_cut_depth = depth >= 4 * shallowest && rows * columns <= 1 << 17;
    const std::int64_t longest = transpose_a && may_cut_depth ? 1024 : 256;
    Tiling tiles{
        {rows, longest}, {columns, round_up(divide_up(columns, divide_up(columns, widest)), unit)}, {depth, depth}};
    if (tiles.count() < enough && longest == 256) tiles.rows.tile = 2 * unit;
    if (tiles.count() < enough && may_cut_depth)
        tiles.depth.tile = std::max(shallowest, round_up(divide_up(depth * tiles.count(), enough), unit));
    while (tiles.count() < enough && tiles.depth.parts() == 1 && tiles.columns.tile > 2 * unit)
        tiles.columns.tile = round_up(tiles.columns.tile / 2, unit);
    if (tiles.count() < enough && tiles.depth.parts() == 1) tiles.rows.tile = unit;
    if (tiles.count() < enough && tiles.depth.parts() == 1) tiles.columns.tile = unit;
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

float* partial_row(const Tensor& partial, std::int64_t row) { return partial.data<float>() + row * partial.columns(); }

// c = [c +] the sum of the parts, in order
void add_up(const Tensor& partial, std::int64_t parts, const MatrixView& c, bool accumulate) {
    const auto& add = TRAINER_PICK(add_row);
    const auto& convert = TRAINER_PICK(convert_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < c.rows; ++row) {
        float* sum = partial_row(partial, row);
        for (std::int64_t part = 1; part < parts; ++part)
            add(sum, DType::f32, partial_row(partial, part * c.rows + row), DType::f32, c.columns);
        if (accumulate) {
            add(element(c, row, 0), c.dtype, sum, DType::f32, c.columns);
        } else if (c.dtype == DType::f32) {
            std::copy_n(sum, c.columns, static_cast<float*>(element(c, row, 0)));
        } else {
            convert(sum, DType::f32, element(c, row, 0), c.columns);
        }
    }
}

// Whether gemv does it.
bool is_row(std::int64_t rows, bool transpose_a, bool transpose_b) { return rows == 1 && !transpose_a && transpose_b; }

// (depth parts · M, N); undefined when there is one part.
Tensor room_for_parts(const Tiling& tiles, std::int64_t rows, std::int64_t columns, Place place) {
    const PurposeScope purpose(Purpose::workspace);
    return tiles.depth.parts() > 1 ? Tensor::empty({tiles.depth.parts() * rows, columns}, DType::f32, place) : Tensor();
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
    if (is_row(whole.rows, transpose_a, transpose_b)) {
        gemv(c, a, b, accumulate);
        return;
    }
    // oneDNN 2.6.3 multiplies f32 on AVX-512 with data further below the stack pointer than a signal's frame spares:
    // a handler that runs on this thread's stack overwrites them.
    const SignalsBlocked blocked;
    const Tiling tiles = tiling(whole.rows, whole.columns, whole.depth, transpose_a);
    const std::int64_t row_parts = tiles.rows.parts(), column_parts = tiles.columns.parts();
    const std::int64_t depth_parts = tiles.depth.parts();
    const Tensor partial = room_for_parts(tiles, whole.rows, whole.columns, Place::cpu());
    if (depth_parts > 1) {
        whole.out = DType::f32;
        whole.c_stride = whole.columns;
        whole.accumulate = false;
    }
    const auto tile_shape = [&](std::int64_t row_part, std::int64_t column_part, std::int64_t depth_part) {
        TileShape shape = whole;
        shape.rows = tiles.rows.length(row_part);
        shape.columns = tiles.columns.length(column_part);
        shape.depth = tiles.depth.length(depth_part);
        return shape;
    };
    for (const std::int64_t row_part : {std::int64_t{0}, row_parts - 1})
        for (const std::int64_t column_part : {std::int64_t{0}, column_parts - 1})
            for (const std::int64_t depth_part : {std::int64_t{0}, depth_parts - 1})
                prepare_tile(tile_shape(row_part, column_part, depth_part));
    std::exception_ptr failure;   // an exception must not leave a parallel region
#pragma omp parallel for collapse(3) schedule(dynamic, 1) if (tiles.count() > 1)
    for (std::int64_t depth_part = 0; depth_part < depth_parts; ++depth_part)
        for (std::int64_t row_part = 0; row_part < row_parts; ++row_part)
            for (std::int64_t column_part = 0; column_part < column_parts; ++column_part) {
                const std::int64_t row = tiles.rows.begin(row_part), column = tiles.columns.begin(column_part);
                const std::int64_t depth = tiles.depth.begin(depth_part);
                void* target = depth_parts > 1 ? partial_row(partial, depth_part * c.rows + row) + column
                                               : element(c, row, column);
                try {
                    run_tile(tile_shape(row_part, column_part, depth_part), target,
                             transpose_a ? element(a, depth, row) : element(a, row, depth),
                             transpose_b ? element(b, column, depth) : element(b, depth, column));
                } catch (...) {
#pragma omp critical(gemm_failure)
                    failure = std::current_exception();
                }
            }
    if (failure) std::rethrow_exception(failure);
    if (depth_parts > 1) add_up(partial, depth_parts, c, accumulate);
}

void gemm(Cpu cpu, Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate) {
    gemm(cpu, view_of(c), view_of(a), transpose_a, view_of(b), transpose_b, accumulate);
}

void product(Tensor& c, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, bool accumulate) {
    const bool planned_for_host = c.place().is_meta() && c.place().stands_for == Place::Kind::cpu;
    if (planned_for_host && c.elements() > 0 && !is_row(c.rows(), transpose_a, transpose_b))
        room_for_parts(tiling(c.rows(), c.columns(), transpose_a ? a.rows() : a.columns(), transpose_a), c.rows(),
                       c.columns(), c.place());
    on(c.place(), [&](auto place) { gemm(place, c, a, transpose_a, b, transpose_b, accumulate); });
}

bool product_with_bias(Tensor& c, const Tensor& a, const Tensor& b, const Tensor& bias) {
    const auto in_sixteens = [](const Tensor& tensor, std::int64_t elements) {
        return elements * static_cast<std::int64_t>(size_of(tensor.dtype())) % 16 == 0 &&
               reinterpret_cast<std::uintptr_t>(tensor.raw()) % 16 == 0;
    };
    if (!c.place().on_device() || !in_sixteens(c, c.columns()) || !in_sixteens(c, c.stride()) ||
        !in_sixteens(bias, c.columns()))
        return false;
    on(c.place(), [&](auto place) {
        if constexpr (!std::is_same_v<decltype(place), Cpu>) gemm(place, c, a, false, b, true, false, 1, bias);
    });
    return true;
}

}   // namespace trainer
