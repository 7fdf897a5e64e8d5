#include "autograd/cuda/device.h"
#include "autograd/ops/replaced_rows_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename Element>
__global__ void copy_kernel(const std::int32_t* found, Rows<const Element> rows, Rows<Element> y,
                            std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    const std::int32_t from = found[blockIdx.x];
    if (column < columns && from >= 0) y.row(blockIdx.x)[column] = rows.row(from)[column];
}

template <typename Element>
__global__ void clear_kernel(const std::int32_t* found, Rows<Element> gradient, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column < columns && found[blockIdx.x] >= 0) gradient.row(blockIdx.x)[column] = Element(0.0f);
}

}   // namespace

void copy_found(Cuda place, const Tensor& found, const Tensor& rows, Tensor& y) {
    with_element(y.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, row_grid(y, 1), copy_kernel<Element>, found.data<std::int32_t>(), rows_of<const Element>(rows),
               rows_of<Element>(y), y.columns());
    });
}

void clear_found(Cuda place, const Tensor& found, Tensor& gradient) {
    with_element(gradient.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, row_grid(gradient, 1), clear_kernel<Element>, found.data<std::int32_t>(),
               rows_of<Element>(gradient), gradient.columns());
    });
}

}   // namespace trainer
