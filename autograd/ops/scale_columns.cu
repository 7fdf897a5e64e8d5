#include "autograd/cuda/device.h"
#include "autograd/ops/scale_columns_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

__global__ void factor_kernel(const float* scale, const float* divisor, float* factor, std::int64_t columns) {
    const std::int64_t c = grid_thread();
    if (c < columns) factor[c] = divisor ? scale[c] / divisor[c] : scale[c];
}

template <typename Element, int width>
__global__ void multiply_kernel(Rows<const Element> in, const float* factor, const float* bias, Rows<Element> out,
                                std::int64_t columns) {
    const std::int64_t column = column_of_thread() * width;
    if (column >= columns) return;
    auto values = load<width>(in.row(blockIdx.x) + column);
    for (int i = 0; i < width; ++i)
        values.elements[i] =
            Element(to_float(values.elements[i]) * factor[column + i] + (bias ? bias[column + i] : 0.0f));
    store<width>(out.row(blockIdx.x) + column, values);
}

}   // namespace

void make_factor(Cuda place, const Tensor& scale, const Tensor& divisor, Tensor& factor) {
    constexpr int threads = 256;
    launch(place, {.blocks = blocks_for(factor.elements(), threads), .threads = threads}, factor_kernel,
           scale.data<float>(), divisor.defined() ? divisor.data<float>() : nullptr, factor.data<float>(),
           factor.elements());
}

void multiply(Cuda place, const Tensor& in, const Tensor& factor, const Tensor& bias, Tensor& out) {
    with_packs(in.dtype(), {&in, &out}, [&](auto element, auto width) {
        using Element = decltype(element);
        launch(place, row_grid(in, width), multiply_kernel<Element, width>, rows_of<const Element>(in),
               factor.data<float>(), bias.defined() ? bias.data<float>() : nullptr, rows_of<Element>(out),
               in.columns());
    });
}

}   // namespace trainer
