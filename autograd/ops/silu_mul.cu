#include "autograd/cuda/device.h"
#include "autograd/ops/silu_mul_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

__device__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <typename Element, int width>
__global__ void forward_kernel(Rows<const Element> gate_up, Rows<Element> y, std::int64_t columns) {
    const std::int64_t column = column_of_thread() * width;
    if (column >= columns) return;
    const Element* row = gate_up.row(blockIdx.x);
    const auto gate = load<width>(row + column);
    const auto up = load<width>(row + columns + column);
    Pack<Element, width> out;
    for (int i = 0; i < width; ++i) {
        const float g = to_float(gate.elements[i]);
        out.elements[i] = Element(g * sigmoid(g) * to_float(up.elements[i]));
    }
    store<width>(y.row(blockIdx.x) + column, out);
}

// s = σ(g): d(g s)/dg = s (1 + g (1 - s)).
template <typename Element, int width>
__global__ void backward_kernel(Rows<const Element> gate_up, Rows<const Element> dy, Rows<Element> dgate_up,
                                std::int64_t columns) {
    const std::int64_t column = column_of_thread() * width;
    if (column >= columns) return;
    const Element* row = gate_up.row(blockIdx.x);
    const auto gate = load<width>(row + column);
    const auto up = load<width>(row + columns + column);
    const auto above = load<width>(dy.row(blockIdx.x) + column);
    Pack<Element, width> dgate, dup;
    for (int i = 0; i < width; ++i) {
        const float g = to_float(gate.elements[i]), d = to_float(above.elements[i]);
        const float s = sigmoid(g);
        dgate.elements[i] = Element(d * to_float(up.elements[i]) * (s * (1.0f + g * (1.0f - s))));
        dup.elements[i] = Element(d * (g * s));
    }
    Element* out = dgate_up.row(blockIdx.x);
    store<width>(out + column, dgate);
    store<width>(out + columns + column, dup);
}

}   // namespace

void silu_mul_forward(Cuda place, const Tensor& gate_up, Tensor& y) {
    with_packs(y.dtype(), {&gate_up, &y}, [&](auto element, auto width) {
        using Element = decltype(element);
        launch(place, row_grid(y, width), forward_kernel<Element, width>, rows_of<const Element>(gate_up),
               rows_of<Element>(y), y.columns());
    });
}

void silu_mul_backward(Cuda place, const Tensor& gate_up, const Tensor& dy, Tensor& dgate_up) {
    with_packs(dy.dtype(), {&gate_up, &dy, &dgate_up}, [&](auto element, auto width) {
        using Element = decltype(element);
        launch(place, row_grid(dy, width), backward_kernel<Element, width>, rows_of<const Element>(gate_up),
               rows_of<const Element>(dy), rows_of<Element>(dgate_up), dy.columns());
    });
}

}   // namespace trainer
