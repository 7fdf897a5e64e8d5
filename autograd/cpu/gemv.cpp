#include "autograd/cpu/gemv.h"

#include <algorithm>
#include <cstring>

#include "autograd/cpu/gemv_kernels.h"
#include "autograd/cpu/rows_kernels.h"

namespace trainer {

namespace {

std::int64_t element_bytes(const MatrixView& matrix) { return static_cast<std::int64_t>(size_of(matrix.dtype)); }

}   // namespace

void gemv(const MatrixView& c, const MatrixView& a, const MatrixView& b, bool accumulate) {
    constexpr std::int64_t block = 64;   // rows of b a thread takes at a time
    const auto& dots = TRAINER_PICK(dot_rows);
    const auto& convert = TRAINER_PICK(convert_row);
    const auto& add = TRAINER_PICK(add_row);
    const PurposeScope purpose(Purpose::workspace);
    const Tensor wide = Tensor::empty({a.columns}, DType::f32);
    if (a.dtype == DType::f32) {
        std::memcpy(wide.raw(), a.data, wide.bytes());
    } else {
        convert(a.data, a.dtype, wide.raw(), a.columns);
    }
#pragma omp parallel for schedule(static) if (b.rows * b.columns > 1 << 15)
    for (std::int64_t begin = 0; begin < b.rows; begin += block) {
        const std::int64_t count = std::min(block, b.rows - begin);
        const auto* rows = static_cast<const std::byte*>(b.data) + begin * b.stride * element_bytes(b);
        auto* out = static_cast<std::byte*>(c.data) + begin * element_bytes(c);
        float sums[block];
        dots(wide.data<float>(), rows, b.dtype, b.stride, count, b.columns, sums);
        if (accumulate) {
            add(out, c.dtype, sums, DType::f32, count);
        } else if (c.dtype == DType::f32) {
            std::memcpy(out, sums, static_cast<std::size_t>(count) * sizeof(float));
        } else {
            convert(sums, DType::f32, out, count);
        }
    }
}

}   // namespace trainer
