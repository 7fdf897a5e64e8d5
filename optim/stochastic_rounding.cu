#include "optim/stochastic_rounding.h"

#include "optim/stochastic_rounding_cuda.h"
#include "optim/value_packs.h"

namespace trainer {

namespace {

using namespace cuda;

template <int width>
__global__ void round_kernel(const float* from, bf16* to, std::int64_t elements, Rounding rounding) {
    const std::int64_t begin = grid_thread() * width;
    if (begin + width <= elements) return write(read<width>(from + begin), to + begin, rounding, begin);
    for (std::int64_t i = begin; i < elements; ++i) write(read<1>(from + i), to + i, rounding, i);
}

}   // namespace

void round_elements(Cuda place, std::uint64_t key, std::int64_t first, const Tensor& from, Tensor& to) {
    with_value_packs(DType::bf16, {&from, &to}, [&](auto, auto width) {
        constexpr int threads = 256;
        launch(place, {.blocks = blocks_for(from.elements(), threads * width), .threads = threads}, round_kernel<width>,
               from.data<float>(), to.data<bf16>(), from.elements(), Rounding{key, first});
    });
}

}   // namespace trainer
