#include <algorithm>

#include "autograd/cuda/device.h"
#include "autograd/random.h"
#include "optim/apollo_cuda.h"
#include "optim/block_total.h"
#include "optim/grain_sum_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr int threads = 256;
constexpr double least = 1e-8;   // added to the norm below

Grid element_grid(std::int64_t elements) { return {.blocks = blocks_for(elements, threads), .threads = threads}; }

__global__ void normal_kernel(std::uint64_t key, float deviation, float* out, std::int64_t elements) {
    const std::int64_t block = grid_thread();
    const auto counter = static_cast<std::uint64_t>(block);
    const auto drawn =
        normal(philox(key, {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0}));
    for (std::int64_t i = block * 4; i < std::min(block * 4 + 4, elements); ++i)
        out[i] = deviation * drawn[static_cast<std::size_t>(i % 4)];
}

__device__ double squared(float value) { return static_cast<double>(value) * static_cast<double>(value); }
__device__ float ratio(double above, double below) { return static_cast<float>(sqrt(above) / (sqrt(below) + least)); }

// A thread for each column.
__global__ void column_factors_kernel(Rows<const float> normed, Rows<const float> projected, std::int64_t rows,
                                      std::int64_t columns, float* factors) {
    const std::int64_t c = grid_thread();
    if (c >= columns) return;
    double above = 0, below = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
        above += squared(normed.row(r)[c]);
        below += squared(projected.row(r)[c]);
    }
    factors[c] = ratio(above, below);
}

// A warp for each row.
__global__ void row_factors_kernel(Rows<const float> normed, Rows<const float> projected, std::int64_t rows,
                                   std::int64_t columns, float* factors) {
    const std::int64_t r = grid_thread() / warp_size;
    if (r >= rows) return;
    double above = 0, below = 0;
    for (std::int64_t c = threadIdx.x % warp_size; c < columns; c += warp_size) {
        above += squared(normed.row(r)[c]);
        below += squared(projected.row(r)[c]);
    }
    above = warp_sum(above);
    below = warp_sum(below);
    if (threadIdx.x % warp_size == 0) factors[r] = ratio(above, below);
}

// The factor of element i is number i / columns, or, without rows, i % columns; with one factor it is that.
enum class Along { rows, columns, nothing };
__global__ void scale_kernel(float* values, const float* factors, Along along, std::int64_t columns,
                             std::int64_t elements) {
    const std::int64_t i = grid_thread();
    if (i < elements)
        values[i] *= factors[along == Along::rows ? i / columns : along == Along::columns ? i % columns : 0];
}

__global__ void matrix_factor_kernel(const double* above, const double* below, std::int64_t grains, float* factor) {
    const double over = block_total(above, grains), under = block_total(below, grains);
    if (threadIdx.x == 0) *factor = ratio(over, under);
}

__global__ void limiter_kernel(const double* sums, std::int64_t grains, float growth, float* before, float* limiter) {
    const auto now = static_cast<float>(sqrt(block_total(sums, grains)));
    if (threadIdx.x > 0) return;
    *limiter = *before > 0 ? fmaxf(now / (*before + 1e-8f), growth) / growth : 1.0f;
    *before = now / *limiter;
}
__global__ void limit_kernel(float* values, const float* limiter, std::int64_t elements) {
    const std::int64_t i = grid_thread();
    if (i < elements) values[i] /= *limiter;
}

void scale(Cuda place, const Tensor& values, const Tensor& factors, Along along) {
    launch(place, element_grid(values.elements()), scale_kernel, values.data<float>(), factors.data<float>(), along,
           values.columns(), values.elements());
}

}   // namespace

void draw_normal(Cuda place, std::uint64_t key, float deviation, const Tensor& out) {
    launch(place, element_grid((out.elements() + 3) / 4), normal_kernel, key, deviation, out.data<float>(),
           out.elements());
}

void scale_channels(Cuda place, const Tensor& normed, const Tensor& projected, bool of_rows, const Tensor& factors,
                    const Tensor& gradient) {
    const std::int64_t threads_of_channel = of_rows ? warp_size : 1;
    launch(place, element_grid(factors.elements() * threads_of_channel),
           of_rows ? row_factors_kernel : column_factors_kernel, rows_of<const float>(normed),
           rows_of<const float>(projected), normed.rows(), normed.columns(), factors.data<float>());
    scale(place, gradient, factors, of_rows ? Along::rows : Along::columns);
}

void scale_matrix(Cuda place, const Tensor& normed, const Tensor& projected, const Tensor& sums, const Tensor& factor,
                  const Tensor& gradient) {
    const std::int64_t grains = sums.elements() / 2;
    squares_of_grains(place, {{normed, normed.elements()}, {projected, projected.elements()}}, sums);
    launch(place, total_grid(), matrix_factor_kernel, doubles(sums), doubles(sums) + grains, grains,
           factor.data<float>());
    scale(place, gradient, factor, Along::nothing);
}

void limit_growth(Cuda place, float growth, const Tensor& sums, const Tensor& limiter, const Tensor& before,
                  const Tensor& update) {
    squares_of_grains(place, {{update, update.elements()}}, sums);
    launch(place, total_grid(), limiter_kernel, doubles(sums), sums.elements(), growth, before.data<float>(),
           limiter.data<float>());
    launch(place, element_grid(update.elements()), limit_kernel, update.data<float>(), limiter.data<float>(),
           update.elements());
}

}   // namespace trainer
