#include "autograd/cuda/device.h"
#include "autograd/ops/rms_norm_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

// A block for each row.
Grid grid_for(const Tensor& x) {
    constexpr int threads = 256;
    return {.blocks = x.rows(), .threads = threads, .shared_bytes = threads / warp_size * sizeof(float)};
}

template <typename Element>
struct Forward {
    Rows<const Element> x;
    Rows<const Element> residual;   // or null
    const Element* weight;
    Rows<Element> sum;
    Rows<Element> y;
    float* rstd;
    std::int64_t columns;
    float eps;
};

template <typename Element, int width>
__global__ void forward_kernel(Forward<Element> p) {
    const std::int64_t row = blockIdx.x;
    const Element* x = p.x.row(row);
    float squares = 0;
    for (std::int64_t c = threadIdx.x * width; c < p.columns; c += blockDim.x * width) {
        auto values = load<width>(x + c);
        if (p.residual.data) {
            const auto other = load<width>(p.residual.row(row) + c);
            for (int i = 0; i < width; ++i)
                values.elements[i] = Element(to_float(values.elements[i]) + to_float(other.elements[i]));
            store<width>(p.sum.row(row) + c, values);
        }
        for (int i = 0; i < width; ++i) squares += to_float(values.elements[i]) * to_float(values.elements[i]);
    }
    const float total = block_sum(squares, shared_memory<float>());
    const float rstd = 1.0f / sqrtf(total / static_cast<float>(p.columns) + p.eps);
    if (threadIdx.x == 0) p.rstd[row] = rstd;
    const Element* normed = p.residual.data ? p.sum.row(row) : x;   // what this thread read or wrote
    for (std::int64_t c = threadIdx.x * width; c < p.columns; c += blockDim.x * width) {
        auto values = load<width>(normed + c);
        const auto weight = load<width>(p.weight + c);
        for (int i = 0; i < width; ++i) {
            const float normalised = to_float(Element(to_float(values.elements[i]) * rstd));
            values.elements[i] = Element(normalised * to_float(weight.elements[i]));
        }
        store<width>(p.y.row(row) + c, values);
    }
}

template <typename Element>
struct Backward {
    Rows<const Element> x;
    const Element* weight;
    const float* rstd;
    Rows<const Element> dy;
    Rows<const Element> dsum;   // or null
    Rows<Element> dx;           // may be over dy or dsum
    std::int64_t columns;
};

// n = x · rstd, y = w n:  dn = w dy,  dx = rstd (dn - n mean(dn n)).
template <typename Element, int width>
__global__ void backward_kernel(Backward<Element> p) {
    const std::int64_t row = blockIdx.x;
    const Element *x = p.x.row(row), *dy = p.dy.row(row);
    const float rstd = p.rstd[row];
    float dot = 0;
    for (std::int64_t c = threadIdx.x * width; c < p.columns; c += blockDim.x * width) {
        const auto values = load<width>(x + c), above = load<width>(dy + c), weight = load<width>(p.weight + c);
        for (int i = 0; i < width; ++i)
            dot += to_float(above.elements[i]) * (to_float(values.elements[i]) * rstd) * to_float(weight.elements[i]);
    }
    const float mean = block_sum(dot, shared_memory<float>()) / static_cast<float>(p.columns);
    for (std::int64_t c = threadIdx.x * width; c < p.columns; c += blockDim.x * width) {
        const auto values = load<width>(x + c), above = load<width>(dy + c), weight = load<width>(p.weight + c);
        Pack<Element, width> beside, out;
        if (p.dsum.data) beside = load<width>(p.dsum.row(row) + c);
        for (int i = 0; i < width; ++i) {
            const float normalised = to_float(values.elements[i]) * rstd;
            float value = rstd * (to_float(above.elements[i]) * to_float(weight.elements[i]) - normalised * mean);
            if (p.dsum.data) value += to_float(beside.elements[i]);
            out.elements[i] = Element(value);
        }
        store<width>(p.dx.row(row) + c, out);
    }
}

// dw = Σ dy n over the rows of one block, in order; a thread a column.
template <typename Element>
__global__ void weight_kernel(Rows<const Element> x, Rows<const Element> dy, const float* rstd, Rows<float> block_sums,
                              std::int64_t rows, std::int64_t columns, std::int64_t block_rows) {
    const std::int64_t column = column_of_thread();
    if (column >= columns) return;
    const std::int64_t begin = blockIdx.x * block_rows;
    const std::int64_t end = begin + block_rows < rows ? begin + block_rows : rows;
    float sum = 0;
    for (std::int64_t n = begin; n < end; ++n)
        sum += to_float(dy.row(n)[column]) * (to_float(x.row(n)[column]) * rstd[n]);
    block_sums.row(blockIdx.x)[column] = sum;
}

__global__ void block_sums_kernel(Rows<const float> block_sums, std::int64_t blocks, float* out, std::int64_t columns) {
    const std::int64_t column = grid_thread();
    if (column >= columns) return;
    float sum = 0;
    for (std::int64_t block = 0; block < blocks; ++block) sum += block_sums.row(block)[column];
    out[column] = sum;
}

}   // namespace

void rms_norm_forward(Cuda place, const Tensor& x, const Tensor& residual, const Tensor& weight, float eps, Tensor& sum,
                      Tensor& y, Tensor& rstd) {
    const Tensor row = weight.reshaped({1, x.columns()});
    with_packs(x.dtype(), {&x, &residual, &row, &sum, &y}, [&](auto element, auto width) {
        using Element = decltype(element);
        const Forward<Element> parameters{rows_of<const Element>(x),
                                          rows_of<const Element>(residual),
                                          row.data<Element>(),
                                          rows_of<Element>(sum),
                                          rows_of<Element>(y),
                                          rstd.data<float>(),
                                          x.columns(),
                                          eps};
        launch(place, grid_for(x), forward_kernel<Element, width>, parameters);
    });
}

void rms_norm_backward(Cuda place, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dsum, Tensor& dx, Tensor& block_sums, std::int64_t block_rows) {
    if (block_sums.defined())   // first: dx may be over dy
        with_element(x.dtype(), [&](auto element) {
            using Element = decltype(element);
            launch(place, row_grid(block_sums, 1), weight_kernel<Element>, rows_of<const Element>(x),
                   rows_of<const Element>(dy), rstd.data<float>(), rows_of<float>(block_sums), x.rows(), x.columns(),
                   block_rows);
        });
    if (!dx.defined()) return;
    const Tensor row = weight.reshaped({1, x.columns()});
    with_packs(x.dtype(), {&x, &row, &dy, &dsum, &dx}, [&](auto element, auto width) {
        using Element = decltype(element);
        const Backward<Element> parameters{
            rows_of<const Element>(x),    row.data<Element>(),  rstd.data<float>(), rows_of<const Element>(dy),
            rows_of<const Element>(dsum), rows_of<Element>(dx), x.columns()};
        launch(place, grid_for(x), backward_kernel<Element, width>, parameters);
    });
}

void add_block_sums(Cuda place, const Tensor& block_sums, Tensor& dweight) {
    constexpr int threads = 128;
    launch(place, {.blocks = blocks_for(block_sums.columns(), threads), .threads = threads}, block_sums_kernel,
           rows_of<const float>(block_sums), block_sums.rows(), dweight.data<float>(), block_sums.columns());
}

}   // namespace trainer
