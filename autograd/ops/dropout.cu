#include <cmath>

#include "autograd/cuda/device.h"
#include "autograd/ops/dropout_cuda.h"
#include "autograd/random.h"

namespace trainer {

namespace {

using namespace cuda;

// One draw has the bits of four elements, 16 apart (autograd/cpu/dropout.simd.cpp has the same): thread t of a row
// those of its run of 64 elements.
template <typename Element>
__global__ void dropout_kernel(Rows<const Element> in, Rows<Element> out, std::int64_t columns,
                               const std::uint64_t* token_keys, std::uint64_t site, std::uint32_t threshold,
                               float scale) {
    const std::int64_t draw = column_of_thread();
    const std::int64_t first = draw / 16 * 64 + draw % 16;
    if (first >= columns) return;
    const auto words = philox(random_key(token_keys[blockIdx.x], site), {static_cast<std::uint32_t>(draw), 0, 0, 0});
    const Element* from = in.row(blockIdx.x);
    Element* to = out.row(blockIdx.x);
    for (int w = 0; w < 4; ++w) {
        const std::int64_t column = first + 16 * w;
        if (column >= columns) return;
        const bool keep = (words[static_cast<std::size_t>(w)] >> 8) >= threshold;
        to[column] = Element(keep ? to_float(from[column]) * scale : 0.0f);
    }
}

}   // namespace

void dropout_rows(Cuda place, const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys) {
    const auto threshold = static_cast<std::uint32_t>(std::ceil(std::ldexp(p, 24)));
    const std::int64_t draws = (in.columns() + 63) / 64 * 16;
    Grid grid = row_grid(in, 4);
    grid.blocks_y = blocks_for(draws, grid.threads);
    with_element(in.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, grid, dropout_kernel<Element>, rows_of<const Element>(in), rows_of<Element>(out), in.columns(),
               token_keys.data<std::uint64_t>(), site, threshold, 1.0f / (1.0f - p));
    });
}

}   // namespace trainer
