#include "autograd/cuda/column_sums.h"

#include "autograd/cuda/device.h"

namespace trainer {

namespace {

using namespace cuda;

// A block sums 32 columns: warp w the rows w, w + 16, … in order, then the warps' sums are added in order.
constexpr int sum_warps = 16;
template <typename Element>
__global__ void column_sums_kernel(Rows<const Element> dy, Rows<const Element> x, const float* divisor,
                                   std::int64_t rows, std::int64_t columns, float* sum) {
    const int warp = static_cast<int>(threadIdx.x) / warp_size, lane = static_cast<int>(threadIdx.x) % warp_size;
    const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * warp_size + lane;
    float* parts = shared_memory<float>();
    float part = 0;
    if (column < columns)
        for (std::int64_t n = warp; n < rows; n += sum_warps)
            part += to_float(dy.row(n)[column]) * (x.data ? to_float(x.row(n)[column]) : 1.0f);
    parts[warp * warp_size + lane] = part;
    __syncthreads();
    if (warp > 0 || column >= columns) return;
    float total = 0;
    for (int w = 0; w < sum_warps; ++w) total += parts[w * warp_size + lane];
    sum[column] += divisor ? total / divisor[column] : total;
}

}   // namespace

void add_column_sums(Cuda place, const Tensor& dy, const Tensor& x, const Tensor& divisor, Tensor& sum) {
    constexpr int threads = sum_warps * warp_size;
    const Grid grid{
        .blocks = blocks_for(dy.columns(), warp_size), .threads = threads, .shared_bytes = threads * sizeof(float)};
    with_element(dy.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, grid, column_sums_kernel<Element>, rows_of<const Element>(dy), rows_of<const Element>(x),
               divisor.defined() ? divisor.data<float>() : nullptr, dy.rows(), dy.columns(), sum.data<float>());
    });
}

}   // namespace trainer
