#include "autograd/cuda/rows.h"

#include <algorithm>
#include <initializer_list>

#include "autograd/cuda/device.h"
#include "autograd/cuda/runtime.h"

namespace trainer {

namespace {

using namespace cuda;

constexpr int threads = 256;

struct Extent {
    std::int64_t rows;
    std::int64_t columns;
};

// Tensors that are all contiguous are one row.
Extent extent_of(std::initializer_list<const Tensor*> tensors) {
    const Tensor& first = **tensors.begin();
    for (const Tensor* tensor : tensors)
        check(tensor->shape() == first.shape(), "cuda rows: {} beside {}", tensor->shape().text(),
              first.shape().text());
    if (std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) { return t->contiguous(); }))
        return {1, first.elements()};
    return {first.rows(), first.columns()};
}

Grid grid_for(const Extent& extent) {
    constexpr std::int64_t most_blocks = 1 << 16;
    return {.blocks = std::min(blocks_for(extent.rows * extent.columns, threads), most_blocks), .threads = threads};
}

template <typename In, typename Out>
__global__ void convert_kernel(Rows<In> in, Rows<Out> out, Extent extent) {
    for (std::int64_t i = grid_thread(); i < extent.rows * extent.columns; i += grid_threads()) {
        const std::int64_t row = i / extent.columns, column = i - row * extent.columns;
        out.row(row)[column] = Out(to_float(in.row(row)[column]));
    }
}

template <typename Sum, typename Term>
__global__ void add_kernel(Rows<Sum> sum, Rows<Term> term, Extent extent) {
    for (std::int64_t i = grid_thread(); i < extent.rows * extent.columns; i += grid_threads()) {
        const std::int64_t row = i / extent.columns, column = i - row * extent.columns;
        Sum& to = sum.row(row)[column];
        to = Sum(to_float(to) + to_float(term.row(row)[column]));
    }
}

template <typename Element>
__global__ void sum_kernel(Rows<Element> a, Rows<Element> b, Rows<Element> out, Extent extent) {
    for (std::int64_t i = grid_thread(); i < extent.rows * extent.columns; i += grid_threads()) {
        const std::int64_t row = i / extent.columns, column = i - row * extent.columns;
        out.row(row)[column] = Element(to_float(a.row(row)[column]) + to_float(b.row(row)[column]));
    }
}

// By `*there` where that is not null, else by `factor`.
template <typename Element>
__global__ void scale_kernel(Rows<Element> values, float factor, const float* there, Extent extent) {
    if (there) factor = *there;
    for (std::int64_t i = grid_thread(); i < extent.rows * extent.columns; i += grid_threads()) {
        const std::int64_t row = i / extent.columns, column = i - row * extent.columns;
        Element& value = values.row(row)[column];
        value = Element(to_float(value) * factor);
    }
}

__global__ void fill_kernel(Rows<float> out, float value, Extent extent) {
    for (std::int64_t i = grid_thread(); i < extent.rows * extent.columns; i += grid_threads()) {
        const std::int64_t row = i / extent.columns, column = i - row * extent.columns;
        out.row(row)[column] = value;
    }
}

}   // namespace

void copy_rows(Cuda place, const Tensor& in, Tensor& out) {
    const Extent extent = extent_of({&in, &out});
    if (in.dtype() == out.dtype()) {
        const std::size_t size = size_of(in.dtype());
        const std::size_t row_bytes = static_cast<std::size_t>(extent.columns) * size;
        begin_copy(Direction::on_device, out.raw(),
                  extent.rows == 1 ? row_bytes : static_cast<std::size_t>(out.stride()) * size, in.raw(),
                  extent.rows == 1 ? row_bytes : static_cast<std::size_t>(in.stride()) * size, row_bytes,
                  static_cast<std::size_t>(extent.rows));
        return;
    }
    with_element(in.dtype(), [&](auto from) {
        with_element(out.dtype(), [&](auto to) {
            using In = decltype(from);
            using Out = decltype(to);
            launch(place, grid_for(extent), convert_kernel<In, Out>, rows_of<In>(in), rows_of<Out>(out), extent);
        });
    });
}

void add_rows(Cuda place, Tensor& sum, const Tensor& term) {
    const Extent extent = extent_of({&sum, &term});
    with_element(sum.dtype(), [&](auto to) {
        with_element(term.dtype(), [&](auto from) {
            using Sum = decltype(to);
            using Term = decltype(from);
            launch(place, grid_for(extent), add_kernel<Sum, Term>, rows_of<Sum>(sum), rows_of<Term>(term), extent);
        });
    });
}

void fill_rows(Cuda place, Tensor& out, float value) {
    const Extent extent = extent_of({&out});
    launch(place, grid_for(extent), fill_kernel, rows_of<float>(out), value, extent);
}

namespace {

void scale(Cuda place, Tensor& values, float factor, const float* there) {
    const Extent extent = extent_of({&values});
    with_element(values.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, grid_for(extent), scale_kernel<Element>, rows_of<Element>(values), factor, there, extent);
    });
}

}   // namespace

void scale_rows(Cuda place, Tensor& values, float factor) { scale(place, values, factor, nullptr); }
void scale_rows(Cuda place, Tensor& values, const Tensor& factor) { scale(place, values, 1, factor.data<float>()); }

void sum_rows(Cuda place, const Tensor& a, const Tensor& b, Tensor& out) {
    const Extent extent = extent_of({&a, &b, &out});
    with_element(out.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, grid_for(extent), sum_kernel<Element>, rows_of<Element>(a), rows_of<Element>(b),
               rows_of<Element>(out), extent);
    });
}

}   // namespace trainer
