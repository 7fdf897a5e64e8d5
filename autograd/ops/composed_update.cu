#include "autograd/cuda/device.h"
#include "autograd/ops/composed_update_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

struct Sides {
    std::int64_t rows;
    std::int64_t columns;
};

// `block`: the sides of the second matrix.
template <bool kronecker>
__global__ void compose_kernel(Rows<const float> first, Rows<const float> second, Sides block, float scale,
                               Rows<float> out, std::int64_t columns) {
    const std::int64_t o = blockIdx.x, i = column_of_thread();
    if (i >= columns) return;
    const float f = kronecker ? first.row(o / block.rows)[i / block.columns] : first.row(o)[i];
    const float s = kronecker ? second.row(o % block.rows)[i % block.columns] : second.row(o)[i];
    out.row(o)[i] = scale * f * s;
}

// A block of threads for an element: thread t adds the products of elements t, t + 256, … of the second matrix.
constexpr int first_threads = 256;
__global__ void first_kernel(Rows<const float> change, Rows<const float> second, Sides block, Rows<float> out) {
    const std::int64_t i = blockIdx.x, j = blockIdx.y;
    float sum = 0;
    for (auto at = static_cast<std::int64_t>(threadIdx.x); at < block.rows * block.columns; at += first_threads) {
        const std::int64_t k = at / block.columns, l = at % block.columns;
        sum += change.row(i * block.rows + k)[j * block.columns + l] * second.row(k)[l];
    }
    const float total = block_sum(sum, shared_memory<float>());
    if (threadIdx.x == 0) out.row(i)[j] = total;
}

// A block of threads for 32 elements of a row: warp w adds the products of elements w, w + 16, … of the first matrix,
// then the warps' sums are added in order.
constexpr int second_warps = 16;
__global__ void second_kernel(Rows<const float> change, Rows<const float> first, Sides sides, Sides block,
                              Rows<float> out) {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    const std::int64_t k = blockIdx.x, l = static_cast<std::int64_t>(blockIdx.y) * warp_size + lane;
    float* parts = shared_memory<float>();
    float part = 0;
    if (l < block.columns)
        for (std::int64_t at = warp; at < sides.rows * sides.columns; at += second_warps) {
            const std::int64_t i = at / sides.columns, j = at % sides.columns;
            part += first.row(i)[j] * change.row(i * block.rows + k)[j * block.columns + l];
        }
    parts[warp * warp_size + lane] = part;
    __syncthreads();
    if (warp > 0 || l >= block.columns) return;
    float total = 0;
    for (int w = 0; w < second_warps; ++w) total += parts[w * warp_size + lane];
    out.row(k)[l] = total;
}

Sides sides_of(const Tensor& matrix) { return {matrix.rows(), matrix.columns()}; }

}   // namespace

void compose(Cuda place, Composition how, const Tensor& first, const Tensor& second, float scale, Tensor& out) {
    launch(place, row_grid(out, 1), how == Composition::kronecker ? compose_kernel<true> : compose_kernel<false>,
           rows_of<const float>(first), rows_of<const float>(second), sides_of(second), scale, rows_of<float>(out),
           out.columns());
}

void first_gradient(Cuda place, const Tensor& change, const Tensor& second, Tensor& out) {
    const Grid grid{.blocks = out.rows(),
                    .threads = first_threads,
                    .shared_bytes = first_threads / warp_size * sizeof(float),
                    .blocks_y = out.columns()};
    launch(place, grid, first_kernel, rows_of<const float>(change), rows_of<const float>(second), sides_of(second),
           rows_of<float>(out));
}

void second_gradient(Cuda place, const Tensor& change, const Tensor& first, Tensor& out) {
    constexpr int threads = second_warps * warp_size;
    const Grid grid{.blocks = out.rows(),
                    .threads = threads,
                    .shared_bytes = threads * sizeof(float),
                    .blocks_y = blocks_for(out.columns(), warp_size)};
    launch(place, grid, second_kernel, rows_of<const float>(change), rows_of<const float>(first), sides_of(first),
           sides_of(out), rows_of<float>(out));
}

}   // namespace trainer
