#include "autograd/cuda/device.h"
#include "autograd/ops/rope_cuda.h"

namespace trainer {

namespace {

using namespace cuda;

// A thread turns the pairs (j, j + half) of `width` columns of one head.
template <typename Element, int width>
__global__ void rope_kernel(Rows<Element> x, const float* cosine, const float* sine, const std::int32_t* positions,
                            int heads, int head_dim, float sign) {
    const int half = head_dim / 2, packs = half / width;
    const std::int64_t pack = column_of_thread();
    if (pack >= static_cast<std::int64_t>(heads) * packs) return;
    const std::int64_t head = pack / packs, j = pack % packs * width;
    Element* first_at = x.row(blockIdx.x) + head * head_dim + j;
    auto first = load<width>(first_at), second = load<width>(first_at + half);
    const std::int64_t row = static_cast<std::int64_t>(positions[blockIdx.x]) * half + j;
    for (int i = 0; i < width; ++i) {
        const float c = cosine[row + i], s = sine[row + i] * sign;
        const float a = to_float(first.elements[i]), b = to_float(second.elements[i]);
        first.elements[i] = Element(a * c - b * s);
        second.elements[i] = Element(b * c + a * s);
    }
    store<width>(first_at, first);
    store<width>(first_at + half, second);
}

}   // namespace

void rope_rows(Cuda place, Tensor& x, const RopeTable& table, const Tensor& positions, int heads, int head_dim,
               bool inverse) {
    const Tensor turned = x.column_range(0, static_cast<std::int64_t>(heads) * head_dim);
    const Tensor halves = x.column_range(0, head_dim / 2);   // packs must not go beyond a half
    with_packs(x.dtype(), {&turned, &halves}, [&](auto element, auto width) {
        using Element = decltype(element);
        const Tensor pairs = x.column_range(0, turned.columns() / 2);
        launch(place, row_grid(pairs, width), rope_kernel<Element, width>, rows_of<Element>(x),
               table.cosine.data<float>(), table.sine.data<float>(), positions.data<std::int32_t>(), heads, head_dim,
               inverse ? -1.0f : 1.0f);
    });
}

}   // namespace trainer
