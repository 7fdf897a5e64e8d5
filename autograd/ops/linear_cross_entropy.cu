#include <cfloat>

#include "autograd/cuda/device.h"
#include "autograd/ops/linear_cross_entropy_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

template <typename Word>
__global__ void gather_kernel(Rows<const Word> in, const std::int32_t* rows, Rows<Word> out, std::int64_t columns) {
    const std::int64_t column = column_of_thread();
    if (column < columns) out.row(blockIdx.x)[column] = in.row(rows[blockIdx.x])[column];
}

constexpr int softmax_threads = 512;
constexpr int softmax_warps = softmax_threads / warp_size;

// What a thread knows of its part of a row: the largest logit, its first place, and the sums of e^(l - largest) and
// of that times (l - largest).
struct Part {
    float largest = -FLT_MAX;
    std::int64_t first = 0;
    float plain = 0;
    float weighted = 0;

    __device__ void add(float logit, std::int64_t place) {
        if (logit > largest) {
            move_to(logit);
            first = place;
        }
        const float shifted = logit - largest;
        const float power = expf(shifted);
        plain += power;
        if (power > 0) weighted += power * shifted;   // a logit of -infinity has no weight
    }
    // The sums as if `other`, which is not smaller, were the largest.
    __device__ void move_to(float other) {
        if (plain > 0) {
            const float factor = expf(largest - other);
            weighted = factor > 0 ? (weighted + plain * (largest - other)) * factor : 0;
            plain *= factor;
        }
        largest = other;
    }
};

// A block for each row, which is read once for its sums and once for the gradient, which is times `unit`.
template <typename Gradient, int width>
__global__ void softmax_kernel(Rows<float> logits, const std::int32_t* targets, Rows<Gradient> gradient,
                               Rows<float> sums, std::int64_t columns, float unit) {
    double* double_scratch = shared_memory<double>();
    auto* scratch = reinterpret_cast<float*>(double_scratch + softmax_warps);
    float* row = logits.row(blockIdx.x);
    const std::int64_t target = targets[blockIdx.x];
    const std::int64_t begin = static_cast<std::int64_t>(threadIdx.x) * width;

    Part part;
    for (std::int64_t i = begin; i < columns; i += softmax_threads * width) {
        const auto some = load<width>(row + i);
        for (int k = 0; k < width; ++k) part.add(some.elements[k], i + k);
    }
    const float largest = block_max(part.largest, scratch);
    const float of_target = row[target];
    // Places are below 2^24, so f32 holds them.
    const float first = -block_max(part.largest == largest ? -static_cast<float>(part.first) : -INFINITY, scratch);
    part.move_to(largest);
    const double sum = block_sum(static_cast<double>(part.plain), double_scratch);
    const double weighted_sum = block_sum(static_cast<double>(part.weighted), double_scratch);
    if (threadIdx.x == 0) {
        const double log_sum = log(sum);
        float* out = sums.row(blockIdx.x);
        out[0] = static_cast<float>(log_sum - (static_cast<double>(of_target) - static_cast<double>(largest)));
        out[1] = static_cast<float>(log_sum - weighted_sum / sum);
        out[2] = static_cast<float>(target) == first ? 1.0f : 0.0f;
    }
    if (!gradient.data) return;
    const auto factor = static_cast<float>(1.0 / sum) * unit;
    const auto at_target = static_cast<float>(static_cast<double>(expf(of_target - largest)) / sum - 1.0) * unit;
    Gradient* out = gradient.row(blockIdx.x);   // may be the row itself: every thread reads what it writes
    for (std::int64_t i = begin; i < columns; i += softmax_threads * width) {
        const auto some = load<width>(row + i);
        Pack<Gradient, width> made;
        for (int k = 0; k < width; ++k)
            made.elements[k] = Gradient(i + k == target ? at_target : expf(some.elements[k] - largest) * factor);
        store<width>(out + i, made);
    }
}

// One block: thread t adds rows t, t + 256, …, then the threads' sums are added in order.
constexpr int total_threads = 256;
__global__ void total_kernel(Rows<const float> sums, std::int64_t rows, float* loss, float* entropy, float* correct) {
    double* scratch = shared_memory<double>();
    float* const out[] = {loss, entropy, correct};
    for (int which = 0; which < 3; ++which) {
        double own = 0;
        for (auto n = static_cast<std::int64_t>(threadIdx.x); n < rows; n += total_threads)
            own += static_cast<double>(sums.row(n)[which]);
        const double total = block_sum(own, scratch);
        if (threadIdx.x == 0) *out[which] = static_cast<float>(total);
    }
}

template <typename Out, int width>
__global__ void scatter_kernel(const std::int32_t* source, Rows<const float> dhidden, const float* seed, Rows<Out> dx,
                               std::int64_t columns) {
    const std::int64_t column = column_of_thread() * width;
    if (column >= columns) return;
    const std::int32_t from = source[blockIdx.x];
    Pack<Out, width> made;
    if (from < 0) {
        for (int k = 0; k < width; ++k) made.elements[k] = Out(0.0f);
    } else {
        const auto some = load<width>(dhidden.row(from) + column);
        for (int k = 0; k < width; ++k) made.elements[k] = Out(some.elements[k] * *seed);
    }
    store<width>(dx.row(blockIdx.x) + column, made);
}

template <typename Word>
void gather_words(Cuda place, const Tensor& in, const Tensor& rows, Tensor& out) {
    const auto elements = static_cast<std::int64_t>(sizeof(Word) / size_of(in.dtype()));   // of a word
    launch(place, row_grid(out, static_cast<int>(elements)), gather_kernel<Word>,
           Rows<const Word>{static_cast<const Word*>(in.raw()), in.stride() / elements}, rows.data<std::int32_t>(),
           Rows<Word>{static_cast<Word*>(out.raw()), out.stride() / elements}, out.columns() / elements);
}

}   // namespace

void gather(Cuda place, const Tensor& in, const Tensor& rows, Tensor& out) {
    if (in_packs({&in, &out})) return gather_words<Pack<std::uint32_t, 4>>(place, in, rows, out);
    switch (size_of(in.dtype())) {
        case 2:
            return gather_words<std::uint16_t>(place, in, rows, out);
        case 4:
            return gather_words<std::uint32_t>(place, in, rows, out);
        case 8:
            return gather_words<std::uint64_t>(place, in, rows, out);
        default:
            check(false, "gather: no kernel for {}", name_of(in.dtype()));
    }
}

void softmax_rows(Cuda place, Tensor& logits, const Tensor& targets, Tensor& gradient, Tensor& sums, float unit) {
    const Grid grid{.blocks = logits.rows(),
                    .threads = softmax_threads,
                    .shared_bytes = softmax_warps * (sizeof(double) + sizeof(float))};
    with_element(gradient.defined() ? gradient.dtype() : DType::f32, [&](auto element) {
        using Element = decltype(element);
        launch(place, grid, in_packs({&logits, &gradient}) ? softmax_kernel<Element, 4> : softmax_kernel<Element, 1>,
               rows_of<float>(logits), targets.data<std::int32_t>(), rows_of<Element>(gradient), rows_of<float>(sums),
               logits.columns(), unit);
    });
}

void add_up_rows(Cuda place, const Tensor& sums, Tensor& loss, Tensor& entropy, Tensor& correct) {
    const Grid grid{.blocks = 1, .threads = total_threads, .shared_bytes = total_threads / warp_size * sizeof(double)};
    launch(place, grid, total_kernel, rows_of<const float>(sums), sums.rows(), loss.data<float>(),
           entropy.data<float>(), correct.data<float>());
}

void scatter(Cuda place, const Tensor& source, const Tensor& dhidden, const Tensor& seed, Tensor& dx) {
    with_element(dx.dtype(), [&](auto element) {
        using Out = decltype(element);
        const bool packs = in_packs({&dhidden, &dx});
        launch(place, row_grid(dx, packs ? 4 : 1), packs ? scatter_kernel<Out, 4> : scatter_kernel<Out, 1>,
               source.data<std::int32_t>(), rows_of<const float>(dhidden), seed.data<float>(), rows_of<Out>(dx),
               dx.columns());
    });
}

}   // namespace trainer
