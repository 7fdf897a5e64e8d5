#include "autograd/cpu/gemv_kernels.h"
#include "autograd/cpu/vector.h"

namespace trainer::TRAINER_ISA {

namespace {

// Four sums in turn hide the latency of the additions.
template <typename Element>
float dot(const float* x, const Element* row, std::int64_t depth) {
    constexpr int sums = 4;
    Floats sum[sums] = {};
    std::int64_t k = 0;
    for (; k + sums * lanes <= depth; k += sums * lanes)
        for (int i = 0; i < sums; ++i) sum[i] += load(x + k + i * lanes) * load(row + k + i * lanes);
    for (; k + lanes <= depth; k += lanes) sum[0] += load(x + k) * load(row + k);
    if (k < depth) sum[1] += load_some(x + k, depth - k) * load_some(row + k, depth - k);
    return sum_of((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <typename Element>
void dots(const float* x, const Element* rows, std::int64_t stride, std::int64_t count, std::int64_t depth,
          float* out) {
    for (std::int64_t j = 0; j < count; ++j) out[j] = dot(x, rows + j * stride, depth);
}

}   // namespace

void dot_rows(const float* x, const void* rows, DType type, std::int64_t stride, std::int64_t count, std::int64_t depth,
              float* out) {
    if (type == DType::f32) {
        dots(x, static_cast<const float*>(rows), stride, count, depth, out);
    } else {
        dots(x, static_cast<const bf16*>(rows), stride, count, depth, out);
    }
}

}   // namespace trainer::TRAINER_ISA
