#pragma once

#include <cstdint>
#include <type_traits>

#include "autograd/cuda/device.h"
#include "autograd/quant/packed_matrix.h"

// Unpacking a panel of a compressed matrix; for the .cu files of the formats. A `Format` is what its values are made
// of: `begin` is called by all threads of a block, `decode<width>` gives the f32 values of `width` elements of a row,
// of 8 only from a multiple of 8 on.
namespace trainer::cuda {

inline constexpr int run_width = 8;   // 16 bytes of bf16
inline constexpr int panel_warps = 8;
inline constexpr std::int64_t warp_columns = 1024;   // of one row

// Division by a number that is a power of two more often than not.
struct Divisor {
    std::int64_t number;
    int shift = -1;

    explicit Divisor(std::int64_t by) : number(by) {
        if ((by & (by - 1)) != 0) return;
        for (shift = 0; std::int64_t{1} << shift < by;) ++shift;
    }
    __device__ std::int64_t divide(std::int64_t value) const { return shift < 0 ? value / number : value >> shift; }
};

// Little-endian words; the address must be a multiple of their size.
template <typename Word>
__device__ Word word_at(const std::uint8_t* bytes) {
    return *reinterpret_cast<const Word*>(bytes);
}

// `count` bytes, 8 or fewer, the first the lowest; where there are 8 their address is a multiple of `alignment`.
template <int count, int alignment>
__device__ std::uint64_t bytes_at(const std::uint8_t* bytes) {
    if constexpr (count == 1) {
        return *bytes;
    } else if constexpr (alignment >= count) {
        using Word =
            std::conditional_t<count == 8, std::uint64_t, std::conditional_t<count == 4, std::uint32_t, std::uint16_t>>;
        return word_at<Word>(bytes);
    } else {
        const std::uint64_t low = bytes_at<count / 2, alignment>(bytes);
        return low | bytes_at<count / 2, alignment>(bytes + count / 2) << (4 * count);
    }
}
__device__ inline int byte_of(std::uint64_t bytes, int i) { return static_cast<int>(bytes >> (8 * i) & 0xFFu); }

template <int width, typename Element>
__device__ void store_run(const float* values, DType kept, Element* to) {
    constexpr int pack = width == 1 ? 1 : 16 / static_cast<int>(sizeof(Element));
    for (int begin = 0; begin < width; begin += pack) {
        Pack<Element, pack> out;
        for (int i = 0; i < pack; ++i) out.elements[i] = Element(rounded_to(kept, values[begin + i]));
        store<pack>(to + begin, out);
    }
}

// A warp for 1024 columns of a row.
template <int width, typename Format, typename Element>
__global__ void panel_kernel(const __grid_constant__ Format format, DType kept, const std::int32_t* ids,
                             std::int64_t first_row, std::int64_t first_column, std::int64_t rows, std::int64_t columns,
                             Rows<Element> out) {
    format.begin();
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    const std::int64_t r = static_cast<std::int64_t>(blockIdx.x) * panel_warps + warp;
    if (r >= rows) return;
    const std::int64_t row = ids ? ids[r] : first_row + r;
    if (row < 0) return;
    const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * warp_columns;
    const std::int64_t end = begin + warp_columns < columns ? begin + warp_columns : columns;
    for (std::int64_t c = begin + lane * width; c < end; c += warp_size * width) {
        float values[width];
        format.template decode<width>(row, first_column + c, values);
        store_run<width>(values, kept, out.row(r) + c);
    }
}

// `in_runs`: whether `format` decodes eight at once from every multiple of 8 on.
template <typename Format>
void launch_panel(Cuda place, const Format& format, bool in_runs, DType dtype, const Panel& panel) {
    const Tensor& out = panel.out;
    const DType kept = dtype == out.dtype() ? DType::f32 : dtype;   // nothing is rounded twice
    const bool runs = in_runs && panel.column % run_width == 0 && out.columns() % run_width == 0 && in_packs({&out});
    const Grid grid{.blocks = blocks_for(out.rows(), panel_warps),
                    .threads = panel_warps * warp_size,
                    .shared_bytes = Format::shared_bytes,
                    .blocks_y = blocks_for(out.columns(), static_cast<int>(warp_columns))};
    const auto* ids = panel.ids.defined() ? panel.ids.data<std::int32_t>() : nullptr;
    with_element(out.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, grid, runs ? panel_kernel<run_width, Format, Element> : panel_kernel<1, Format, Element>, format,
               kept, ids, panel.row, panel.column, out.rows(), out.columns(), rows_of<Element>(out));
    });
}

}   // namespace trainer::cuda
