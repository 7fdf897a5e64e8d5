#include "autograd/quant/packed_matrix.h"

#include <cstring>

#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "configs/error.h"

namespace trainer {

void PackedMatrix::pack(const Tensor& values) {
    check(values.shape() == shape() && values.contiguous(), "{}: {} into {}", format(), values.shape().text(),
          shape().text());
    set([&] { encode(values); });
}

void PackedMatrix::set(const std::function<void()>& write) {
    if (place().is_meta()) return;
    if (place().is_cpu()) return write();
    const PurposeScope purpose(Purpose::workspace);
    std::vector<Tensor> there;
    for (Tensor* part : parts()) {
        there.push_back(*part);
        *part = Tensor::empty(part->shape(), part->dtype());
    }
    write();
    for (std::size_t i = 0; i < there.size(); ++i) {
        Tensor& part = *parts()[i];
        copy(part, there[i]);
        part = there[i];
    }
}

void PackedMatrix::unpack(std::int64_t row, std::int64_t column, Tensor& out) const {
    check(row >= 0 && row + out.rows() <= shape_.rows() && column >= 0 && column + out.columns() <= shape_.columns(),
          "{}: rows from {} and columns from {} of {} into {}", format(), row, column, shape_.text(),
          out.shape().text());
    unpack_panel({.out = out, .column = column, .row = row});
}

void PackedMatrix::unpack_rows(const Tensor& ids, Tensor& out) const {
    check(out.rows() == ids.elements() && out.columns() == shape_.columns(), "{}: {} rows of {} into {}", format(),
          ids.elements(), shape_.text(), out.shape().text());
    unpack_panel({.out = out, .ids = ids});
}

void PackedMatrix::decode_panel(Cpu cpu, const Panel& panel) const {
    const auto* ids = panel.ids.defined() ? panel.ids.data<std::int32_t>() : nullptr;
    Tensor& out = panel.out;
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < out.rows(); ++r) {
        const std::int64_t row = ids ? ids[r] : panel.row + r;
        if (row >= 0) unpack_row(cpu, row, panel.column, out.columns(), out.dtype(), row_of(out, r));
    }
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
