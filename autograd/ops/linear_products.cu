#include "autograd/cuda/column_sums.h"
#include "autograd/cuda/device.h"
#include "autograd/ops/linear_products_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename Element, typename Bias>
__global__ void bias_kernel(Rows<Element> y, const Bias* bias, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column >= columns) return;
    Element& value = y.row(blockIdx.x)[column];
    value = Element(to_float(value) + to_float(bias[column]));
}

template <typename Element>
__global__ void pick_kernel(Rows<const Element> from, const std::int32_t* ids, std::int64_t count, float factor,
                            Rows<Element> to) {
    const std::int64_t k = column_of_thread();
    if (k < count) to.row(blockIdx.x)[k] = Element(factor * to_float(from.row(blockIdx.x)[ids[k]]));
}

template <typename Element>
__global__ void store_kernel(Rows<const Element> from, const std::int32_t* ids, std::int64_t count, Rows<Element> to) {
    const std::int64_t k = column_of_thread();
    if (k < count) to.row(blockIdx.x)[ids[k]] = from.row(blockIdx.x)[k];
}

}   // namespace

void add_bias(Cuda place, Tensor& y, const Tensor& bias) {
    with_elements(y.dtype(), bias.dtype(), [&](auto element, auto of_bias) {
        using Element = decltype(element);
        using Bias = decltype(of_bias);
        launch(place, row_grid(y, 1), bias_kernel<Element, Bias>, rows_of<Element>(y), bias.data<Bias>(), y.columns());
    });
}

void add_column_sums(Cuda place, const Tensor& dy, Tensor& sum) { add_column_sums(place, dy, Tensor(), Tensor(), sum); }

void pick_columns(Cuda place, const Tensor& from, const Tensor& ids, float factor, Tensor to) {
    with_element(to.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, row_grid(to, 1), pick_kernel<Element>, rows_of<const Element>(from), ids.data<std::int32_t>(),
               ids.elements(), factor, rows_of<Element>(to));
    });
}

void store_columns(Cuda place, const Tensor& from, const Tensor& ids, Tensor& to) {
    with_element(to.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, row_grid(from, 1), store_kernel<Element>, rows_of<const Element>(from), ids.data<std::int32_t>(),
               ids.elements(), rows_of<Element>(to));
    });
}

}   // namespace trainer
