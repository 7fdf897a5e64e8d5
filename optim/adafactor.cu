#include <algorithm>

#include "autograd/cuda/device.h"
#include "optim/adafactor_cuda.h"
#include "optim/block_total.h"
#include "optim/grain_sum_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

// A gradient with its scale; zeros when there is none.
struct Gradient {
    const float* values;
    float scale;
    __device__ float operator[](std::int64_t i) const { return values ? values[i] * scale : 0.0f; }
};
Gradient gradient_of(const Tensor& gradient, float scale) {
    return {gradient.defined() ? gradient.data<float>() : nullptr, scale};
}

__device__ double square_of(const Gradient& gradient, std::int64_t i, double eps) {
    const auto g = static_cast<double>(gradient[i]);
    return g * g + eps;
}
__device__ void fold(float& mean, const AdafactorMeans& means, double sum, std::int64_t count) {
    mean = static_cast<float>(means.beta * static_cast<double>(mean) +
                              (1 - means.beta) * sum / static_cast<double>(count));
}

constexpr int row_threads = 256;
Grid row_sum_grid(std::int64_t rows) {
    return {.blocks = rows, .threads = row_threads, .shared_bytes = row_threads / warp_size * sizeof(double)};
}

// A block for each row.
__global__ void fold_rows_kernel(Gradient gradient, AdafactorMeans means, std::int64_t columns, float* row_means) {
    const std::int64_t begin = blockIdx.x * columns;
    double own = 0;
    for (auto c = static_cast<std::int64_t>(threadIdx.x); c < columns; c += row_threads)
        own += square_of(gradient, begin + c, means.eps);
    const double sum = block_sum(own, shared_memory<double>());
    if (threadIdx.x == 0) fold(row_means[blockIdx.x], means, sum, columns);
}

// A block for 32 columns: a warp for every 16th row, their sums in order.
constexpr int column_warps = 16;
__global__ void fold_columns_kernel(Gradient gradient, AdafactorMeans means, std::int64_t rows, std::int64_t columns,
                                    float* column_means) {
    double* sums = shared_memory<double>();
    const auto lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * warp_size + lane;
    double own = 0;
    if (column < columns)
        for (std::int64_t r = warp; r < rows; r += column_warps)
            own += square_of(gradient, r * columns + column, means.eps);
    sums[threadIdx.x] = own;
    __syncthreads();
    if (warp > 0 || column >= columns) return;
    double sum = 0;
    for (int other = 0; other < column_warps; ++other) sum += sums[other * warp_size + lane];
    fold(column_means[column], means, sum, rows);
}

__device__ void inverse_roots(const float* values, std::int64_t count, double unit, float* out) {
    for (auto i = static_cast<std::int64_t>(threadIdx.x); i < count; i += blockDim.x)
        out[i] = static_cast<float>(sqrt(unit / static_cast<double>(values[i])));
}
__global__ void factors_kernel(const float* row_means, std::int64_t rows, const float* column_means,
                               std::int64_t columns, float* factors) {
    inverse_roots(row_means, rows, block_total(row_means, rows) / static_cast<double>(rows), factors);
    inverse_roots(column_means, columns, 1, factors + rows);
}

struct Unit {
    Gradient gradient;
    const float* of_rows;   // null for a vector
    const float* of_columns;
    const float* squares;
    std::int64_t columns;

    __device__ float at(std::int64_t row, std::int64_t column) const {
        const float g = gradient[row * columns + column];
        return of_rows ? g * (of_rows[row] * of_columns[column]) : g / sqrtf(squares[column]);
    }
};

__global__ void row_squares_kernel(Unit unit, double* sums) {
    double own = 0;
    for (auto c = static_cast<std::int64_t>(threadIdx.x); c < unit.columns; c += row_threads) {
        const auto u = static_cast<double>(unit.at(blockIdx.x, c));
        own += u * u;
    }
    const double sum = block_sum(own, shared_memory<double>());
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// The rate, clipped, and what is kept of the value.
__global__ void scales_kernel(AdafactorRate how, const double* row_squares, std::int64_t rows,
                              const double* value_squares, std::int64_t grains, std::int64_t elements, float* scales) {
    const auto count = static_cast<double>(elements);
    const double size = sqrt(block_total(row_squares, rows) / count);
    double rate = how.rate;
    if (how.by_size) rate *= fmax(how.smallest_size, sqrt(block_total(value_squares, grains) / count));
    if (threadIdx.x > 0) return;
    scales[0] = static_cast<float>(rate / fmax(1.0, size / how.clip_threshold));
    scales[1] = static_cast<float>(1 - how.weight_decay * rate);
}

__global__ void descent_kernel(Unit unit, const float* scales, float old, float fresh, float* mean, float* value) {
    for (std::int64_t c = column_of_thread(); c < unit.columns;
         c += static_cast<std::int64_t>(gridDim.y) * blockDim.x) {
        const std::int64_t i = blockIdx.x * unit.columns + c;
        float change = unit.at(blockIdx.x, c) * scales[0];
        if (mean) change = mean[i] = old * mean[i] + fresh * change;
        value[i] = value[i] * scales[1] - change;
    }
}

}   // namespace

void fold_squares(Cuda place, const AdafactorMeans& means, const Tensor& gradient, float gradient_scale,
                  const Shape& shape, const Tensor& row_means, const Tensor& column_means) {
    const Gradient given = gradient_of(gradient, gradient_scale);
    launch(place, row_sum_grid(shape.rows()), fold_rows_kernel, given, means, shape.columns(), row_means.data<float>());
    constexpr int threads = column_warps * warp_size;
    const Grid grid{
        .blocks = blocks_for(shape.columns(), warp_size), .threads = threads, .shared_bytes = threads * sizeof(double)};
    launch(place, grid, fold_columns_kernel, given, means, shape.rows(), shape.columns(), column_means.data<float>());
}

void unit_factors(Cuda place, const Tensor& row_means, const Tensor& column_means, const Tensor& factors) {
    launch(place, total_grid(), factors_kernel, row_means.data<float>(), row_means.elements(),
           column_means.data<float>(), column_means.elements(), factors.data<float>());
}

void descend(Cuda place, const AdafactorUnit& unit, const AdafactorRate& rate, double beta1, const AdafactorRoom& room,
             const Tensor& mean, const Tensor& value) {
    const bool matrix = unit.factors.defined();
    const std::int64_t rows = matrix ? unit.shape.rows() : 1, columns = value.elements() / rows;
    const std::int64_t grains = room.sums.elements() - rows;
    const float* factors = matrix ? unit.factors.data<float>() : nullptr;
    const Unit parameters{gradient_of(unit.gradient, unit.gradient_scale), factors, matrix ? factors + rows : nullptr,
                          matrix ? nullptr : unit.squares.data<float>(), columns};
    double* row_squares = doubles(room.sums);
    double* value_squares = row_squares + rows;
    launch(place, row_sum_grid(rows), row_squares_kernel, parameters, row_squares);
    if (rate.by_size) squares_of_grains(place, {{value, value.elements()}}, room.sums.row_range(rows, rows + grains));
    launch(place, total_grid(), scales_kernel, rate, row_squares, rows, value_squares, grains, value.elements(),
           room.scales.data<float>());
    constexpr std::int64_t most_blocks_y = 65535;
    constexpr int threads = 256;
    const Grid grid{
        .blocks = rows, .threads = threads, .blocks_y = std::min(blocks_for(columns, threads), most_blocks_y)};
    launch(place, grid, descent_kernel, parameters, room.scales.data<float>(), static_cast<float>(beta1),
           static_cast<float>(1 - beta1), mean.defined() ? mean.data<float>() : nullptr, value.data<float>());
}

}   // namespace trainer
