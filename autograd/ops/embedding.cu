#include <algorithm>

#include "autograd/cuda/device.h"
#include "autograd/ops/embedding_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename In, typename Out, int width>
__global__ void gather_kernel(Rows<const In> value, const std::int32_t* ids, Rows<Out> y, std::int64_t columns) {
    const std::int64_t column = column_of_thread() * width;
    const std::int32_t id = ids[blockIdx.x];
    if (column >= columns || id < 0) return;
    const auto some = load<width>(value.row(id) + column);
    Pack<Out, width> made;
    for (int k = 0; k < width; ++k) made.elements[k] = Out(to_float(some.elements[k]));
    store<width>(y.row(blockIdx.x) + column, made);
}

// A row of blocks for each id: its tokens are summed in order, then added to its row.
template <typename Element>
__global__ void add_runs_kernel(DeviceRuns runs, Rows<const Element> dy, Rows<float> gradient, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column >= columns) return;
    float sum = 0;
    for (std::int32_t i = runs.begins[blockIdx.x]; i < runs.begins[blockIdx.x + 1]; ++i)
        sum += to_float(dy.row(runs.tokens[i])[column]);
    gradient.row(runs.ids[blockIdx.x])[column] += sum;
}

}   // namespace

void gather_rows(Cuda place, const Tensor& value, const Tensor& ids, Tensor& y) {
    with_elements(value.dtype(), y.dtype(), [&](auto from, auto to) {
        using In = decltype(from);
        using Out = decltype(to);
        constexpr int width = 16 / std::max(sizeof(In), sizeof(Out));
        const bool packs = in_packs({&value, &y});
        launch(place, row_grid(y, packs ? width : 1), packs ? gather_kernel<In, Out, width> : gather_kernel<In, Out, 1>,
               rows_of<const In>(value), ids.data<std::int32_t>(), rows_of<Out>(y), y.columns());
    });
}

void add_runs(Cuda place, const IdRuns& runs, const Tensor& dy, Tensor& room, Tensor& gradient) {
    const DeviceRuns there = on_device(runs, room);
    with_element(dy.dtype(), [&](auto element) {
        using Element = decltype(element);
        Grid grid = row_grid(dy, 1);
        grid.blocks = there.count;
        launch(place, grid, add_runs_kernel<Element>, there, rows_of<const Element>(dy), rows_of<float>(gradient),
               dy.columns());
    });
}

}   // namespace trainer
