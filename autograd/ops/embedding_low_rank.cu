#include "autograd/cuda/device.h"
#include "autograd/ops/embedding_low_rank_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename Element>
__global__ void pick_kernel(Rows<const Element> a, const std::int32_t* ids, float scale, Rows<float> h,
                            std::int64_t rank) {
    const std::int64_t k = column_of_thread();
    if (k < rank) h.row(blockIdx.x)[k] = scale * to_float(a.row(k)[ids[blockIdx.x]]);
}

// A row of blocks for each id.
__global__ void add_kernel(DeviceRuns runs, Rows<const float> g, float scale, Rows<float> gradient, std::int64_t rank) {
    const std::int64_t k = column_of_thread();
    if (k >= rank) return;
    float sum = 0;
    for (std::int32_t i = runs.begins[blockIdx.x]; i < runs.begins[blockIdx.x + 1]; ++i)
        sum += g.row(runs.tokens[i])[k];
    gradient.row(k)[runs.ids[blockIdx.x]] += scale * sum;
}

}   // namespace

void pick_scaled(Cuda place, const Tensor& a, const Tensor& ids, float scale, Tensor& h) {
    with_element(a.dtype(), [&](auto element) {
        using Element = decltype(element);
        launch(place, row_grid(h, 1), pick_kernel<Element>, rows_of<const Element>(a), ids.data<std::int32_t>(), scale,
               rows_of<float>(h), h.columns());
    });
}

void add_runs_to_columns(Cuda place, const IdRuns& runs, const Tensor& g, float scale, const Tensor& room,
                         Tensor& gradient) {
    const DeviceRuns there = on_device(runs, room);
    Grid grid = row_grid(g, 1);
    grid.blocks = there.count;
    launch(place, grid, add_kernel, there, rows_of<const float>(g), scale, rows_of<float>(gradient), g.columns());
}

}   // namespace trainer
