#include <cfloat>

#include "autograd/cuda/device.h"
#include "peft/dora_adapter_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

// A block for each row.
constexpr int square_threads = 256;
__global__ void squares_kernel(Rows<const float> weight, std::int64_t columns, float* squares) {
    const float* row = weight.row(blockIdx.x);
    double sum = 0;
    for (auto i = static_cast<std::int64_t>(threadIdx.x); i < columns; i += square_threads)
        sum += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    const double total = block_sum(sum, shared_memory<double>());
    if (threadIdx.x == 0) squares[blockIdx.x] = static_cast<float>(total);
}

// A warp for each row of b; a lane has every 32nd of its columns.
constexpr int norm_warps = 8;
__global__ void norms_kernel(const float* squares, Rows<const float> through, Rows<const float> gram,
                             Rows<const float> b, std::int64_t rows, std::int64_t rank, double scale, float* norms) {
    const std::int64_t lane = threadIdx.x % warp_size;
    const std::int64_t o = static_cast<std::int64_t>(blockIdx.x) * norm_warps + threadIdx.x / warp_size;
    if (o >= rows) return;
    const float* row = b.row(o);
    double mixed = 0, added = 0;
    for (std::int64_t k = lane; k < rank; k += warp_size) {
        double inner = 0;
        for (std::int64_t l = 0; l < rank; ++l)
            inner += static_cast<double>(gram.row(l)[k]) * static_cast<double>(row[l]);
        mixed += static_cast<double>(row[k]) * static_cast<double>(through.row(k)[o]);
        added += static_cast<double>(row[k]) * inner;
    }
    mixed = warp_sum(mixed);
    added = warp_sum(added);
    if (lane > 0) return;
    const double sum = static_cast<double>(squares[o]) + 2 * scale * mixed + scale * scale * added;
    norms[o] = fmaxf(static_cast<float>(sqrt(fmax(sum, 0.0))), FLT_MIN);
}

}   // namespace

void sum_squares(Cuda place, const Tensor& weight, Tensor& squares) {
    const Grid grid{.blocks = weight.rows(),
                    .threads = square_threads,
                    .shared_bytes = square_threads / warp_size * sizeof(double)};
    launch(place, grid, squares_kernel, rows_of<const float>(weight), weight.columns(), squares.data<float>());
}

void add_up(Cuda place, const Tensor& squares, const Tensor& through, const Tensor& gram, const Tensor& b, float scale,
            Tensor& norms) {
    const Grid grid{.blocks = blocks_for(b.rows(), norm_warps), .threads = norm_warps * warp_size};
    launch(place, grid, norms_kernel, squares.data<float>(), rows_of<const float>(through), rows_of<const float>(gram),
           rows_of<const float>(b), b.rows(), b.columns(), static_cast<double>(scale), norms.data<float>());
}

}   // namespace trainer
