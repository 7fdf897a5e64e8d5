#include <vector>

#include "autograd/cuda/device.h"
#include "autograd/ops/embedding_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename In, typename Out>
__global__ void gather_kernel(Rows<const In> value, const std::int32_t* ids, Rows<Out> y, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column < columns) y.row(blockIdx.x)[column] = Out(to_float(value.row(ids[blockIdx.x])[column]));
}

// A row of blocks for each id: its tokens tokens[begins[run]] … are summed in order, then added to its row.
template <typename Element>
__global__ void add_runs_kernel(const std::int32_t* run_ids, const std::int32_t* begins, const std::int32_t* tokens,
                                Rows<const Element> dy, Rows<float> gradient, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column >= columns) return;
    float sum = 0;
    for (std::int32_t i = begins[blockIdx.x]; i < begins[blockIdx.x + 1]; ++i)
        sum += to_float(dy.row(tokens[i])[column]);
    gradient.row(run_ids[blockIdx.x])[column] += sum;
}

// The next values of `room`.
const std::int32_t* upload(const std::vector<std::int32_t>& values, const Tensor& room, std::int64_t& used) {
    const auto count = static_cast<std::int64_t>(values.size());
    Tensor part = room.row_range(used, used + count);
    copy(Tensor::from<std::int32_t>(values, count), part);
    used += count;
    return part.data<std::int32_t>();
}

}   // namespace

void gather_rows(Cuda place, const Tensor& value, const Tensor& ids, Tensor& y) {
    with_element(value.dtype(), [&](auto from) {
        with_element(y.dtype(), [&](auto to) {
            using In = decltype(from);
            using Out = decltype(to);
            launch(place, row_grid(y, 1), gather_kernel<In, Out>, rows_of<const In>(value), ids.data<std::int32_t>(),
                   rows_of<Out>(y), y.columns());
        });
    });
}

void add_runs(Cuda place, const IdRuns& runs, const Tensor& dy, Tensor& room, Tensor& gradient) {
    std::int64_t used = 0;
    const std::int32_t* ids = upload(runs.ids, room, used);
    const std::int32_t* begins = upload(runs.begins, room, used);
    const std::int32_t* tokens = upload(runs.tokens, room, used);
    with_element(dy.dtype(), [&](auto element) {
        using Element = decltype(element);
        Grid grid = row_grid(dy, 1);
        grid.blocks = static_cast<std::int64_t>(runs.ids.size());
        launch(place, grid, add_runs_kernel<Element>, ids, begins, tokens, rows_of<const Element>(dy),
               rows_of<float>(gradient), dy.columns());
    });
}

}   // namespace trainer
