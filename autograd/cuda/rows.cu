#include "autograd/cuda/rows.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "autograd/cuda/runtime.h"
#include "autograd/cuda/task_list.h"

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

// Calls work.at<width>(row, column) for every pack of `width` columns.
template <int width, typename Work>
__global__ void packs_kernel(Work work, Extent packs) {
    for (std::int64_t i = grid_thread(); i < packs.rows * packs.columns; i += grid_threads()) {
        const std::int64_t row = packs.rows == 1 ? 0 : i / packs.columns;
        work.template at<width>(row, (i - row * packs.columns) * width);
    }
}

// For all elements of the tensors; as many at once as are 16 bytes of the widest, where all rows allow it.
template <typename Work>
void for_packs(Cuda place, const Work& work, std::initializer_list<const Tensor*> tensors) {
    constexpr std::int64_t most_blocks = 1 << 16;
    const Extent extent = extent_of(tensors);
    std::size_t widest = 0;
    bool packs = true;
    for (const Tensor* tensor : tensors) {
        widest = std::max(widest, size_of(tensor->dtype()));
        packs = packs && reinterpret_cast<std::uintptr_t>(tensor->raw()) % 16 == 0;
    }
    const auto width = static_cast<std::int64_t>(16 / widest);
    packs = packs && extent.columns % width == 0;
    for (const Tensor* tensor : tensors) packs = packs && (extent.rows == 1 || tensor->stride() % width == 0);
    const auto start = [&](auto at_once) {
        const Extent parts{extent.rows, extent.columns / at_once};
        const std::int64_t blocks = std::min(blocks_for(parts.rows * parts.columns, threads), most_blocks);
        launch(place, {.blocks = blocks, .threads = threads}, packs_kernel<at_once, Work>, work, parts);
    };
    if (!packs)
        start(Width<1>{});
    else if (width == 4)
        start(Width<4>{});
    else
        start(Width<8>{});
}

template <typename In, typename Out>
struct Convert {
    Rows<const In> in;
    Rows<Out> out;
    template <int width>
    __device__ void at(std::int64_t row, std::int64_t column) const {
        const auto from = load<width>(in.row(row) + column);
        Pack<Out, width> to;
        for (int i = 0; i < width; ++i) to.elements[i] = Out(to_float(from.elements[i]));
        store<width>(out.row(row) + column, to);
    }
};

// out = a + b
template <typename A, typename B>
struct Sum {
    Rows<const A> a;
    Rows<const B> b;
    Rows<A> out;
    template <int width>
    __device__ void at(std::int64_t row, std::int64_t column) const {
        auto sum = load<width>(a.row(row) + column);
        const auto term = load<width>(b.row(row) + column);
        for (int i = 0; i < width; ++i) sum.elements[i] = A(to_float(sum.elements[i]) + to_float(term.elements[i]));
        store<width>(out.row(row) + column, sum);
    }
};

// By `*there` where that is not null, else by `factor`.
template <typename Element>
struct Scale {
    Rows<Element> values;
    float factor;
    const float* there;
    template <int width>
    __device__ void at(std::int64_t row, std::int64_t column) const {
        const float by = there ? *there : factor;
        auto value = load<width>(values.row(row) + column);
        for (int i = 0; i < width; ++i) value.elements[i] = Element(to_float(value.elements[i]) * by);
        store<width>(values.row(row) + column, value);
    }
};

struct Fill {
    Rows<float> out;
    float value;
    template <int width>
    __device__ void at(std::int64_t row, std::int64_t column) const {
        Pack<float, width> to;
        for (int i = 0; i < width; ++i) to.elements[i] = value;
        store<width>(out.row(row) + column, to);
    }
};

template <typename A, typename B>
void add(Cuda place, const Tensor& a, const Tensor& b, Tensor& out) {
    for_packs(place, Sum<A, B>{rows_of<const A>(a), rows_of<const B>(b), rows_of<A>(out)}, {&a, &b, &out});
}

void scale(Cuda place, Tensor& values, float factor, const float* there) {
    with_element(values.dtype(), [&](auto element) {
        for_packs(place, Scale<decltype(element)>{rows_of<decltype(element)>(values), factor, there}, {&values});
    });
}

// Contiguous.
template <typename Out>
struct Conversion {
    const float* in;
    Out* out;
    std::int64_t count;
};
constexpr int converted_by_thread = 4;

template <typename Out>
__global__ void conversions_kernel(const __grid_constant__ TaskList<Conversion<Out>> list) {
    const BlockOfTask here = block_of_task(list);
    const Conversion<Out>& task = list[here.task];
    const Convert<float, Out> convert{{task.in, 0}, {task.out, 0}};
    const std::int64_t begin = (here.block * threads + threadIdx.x) * converted_by_thread;
    if (begin + converted_by_thread <= task.count) return convert.template at<converted_by_thread>(0, begin);
    for (std::int64_t i = begin; i < task.count; ++i) convert.template at<1>(0, i);
}

}   // namespace

void copy_rows(Cuda place, const Tensor& in, Tensor& out) {
    if (in.dtype() == out.dtype()) {
        const Extent extent = extent_of({&in, &out});
        const std::size_t size = size_of(in.dtype());
        const std::size_t row_bytes = static_cast<std::size_t>(extent.columns) * size;
        begin_copy(Direction::on_device, out.raw(),
                   extent.rows == 1 ? row_bytes : static_cast<std::size_t>(out.stride()) * size, in.raw(),
                   extent.rows == 1 ? row_bytes : static_cast<std::size_t>(in.stride()) * size, row_bytes,
                   static_cast<std::size_t>(extent.rows));
        return;
    }
    with_elements(in.dtype(), out.dtype(), [&](auto from, auto to) {
        using In = decltype(from);
        using Out = decltype(to);
        for_packs(place, Convert<In, Out>{rows_of<const In>(in), rows_of<Out>(out)}, {&in, &out});
    });
}

void add_rows(Cuda place, Tensor& sum, const Tensor& term) {
    with_elements(sum.dtype(), term.dtype(),
                  [&](auto to, auto from) { add<decltype(to), decltype(from)>(place, sum, term, sum); });
}

void fill_rows(Cuda place, Tensor& out, float value) { for_packs(place, Fill{rows_of<float>(out), value}, {&out}); }

void scale_rows(Cuda place, Tensor& values, float factor) { scale(place, values, factor, nullptr); }
void scale_rows(Cuda place, Tensor& values, const Tensor& factor) { scale(place, values, 1, factor.data<float>()); }

void sum_rows(Cuda place, const Tensor& a, const Tensor& b, Tensor& out) {
    with_element(out.dtype(), [&](auto element) { add<decltype(element), decltype(element)>(place, a, b, out); });
}

void convert_all(Cuda place, const std::vector<Tensor>& in, const std::vector<Tensor>& out) {
    if (out.empty()) return;
    with_element(out.front().dtype(), [&](auto element) {
        using Out = decltype(element);
        std::vector<Conversion<Out>> tasks;
        for (std::size_t i = 0; i < in.size(); ++i) {
            check(in[i].contiguous() && out[i].contiguous() && in[i].shape() == out[i].shape(), "convert: {} into {}",
                  in[i].shape().text(), out[i].shape().text());
            tasks.push_back({in[i].data<float>(), out[i].data<Out>(), in[i].elements()});
        }
        const auto blocks_of = [](const Conversion<Out>& task) {
            return blocks_for(task.count, threads * converted_by_thread);
        };
        launch_tasks<Conversion<Out>>(place, tasks, threads, blocks_of, conversions_kernel<Out>);
    });
}

}   // namespace trainer
