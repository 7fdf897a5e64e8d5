#include "autograd/quant/packed_matrix.h"

#include <cstring>

#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "configs/error.h"

namespace trainer {

void PackedMatrix::unpack(std::int64_t row, std::int64_t column, Tensor& out) const {
    check(row >= 0 && row + out.rows() <= shape_.rows() && column >= 0 && column + out.columns() <= shape_.columns(),
          "{}: rows from {} and columns from {} of {} into {}", format(), row, column, shape_.text(),
          out.shape().text());
    on(place(), [&](Cpu cpu) {
#pragma omp parallel for schedule(static)
        for (std::int64_t r = 0; r < out.rows(); ++r)
            unpack_row(cpu, row + r, column, out.columns(), out.dtype(), row_of(out, r));
    });
}

void PackedMatrix::store_run(float* values, std::int64_t count, DType target, void* out) const {
    if (dtype_ != DType::f32 && dtype_ != target)
        for (std::int64_t i = 0; i < count; ++i) values[i] = rounded_to(dtype_, values[i]);
    if (target == DType::f32)
        std::memcpy(out, values, static_cast<std::size_t>(count) * sizeof(float));
    else
        TRAINER_PICK(convert_row)(values, DType::f32, out, count);
}

}   // namespace trainer
