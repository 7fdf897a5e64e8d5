#include "autograd/quant/dense.h"

#include <cstring>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/ops/embedding_cuda.h"
#include "configs/error.h"

namespace trainer {

namespace {

void check_ids(const Tensor& ids, std::int64_t end) {
    const auto* id = ids.data<std::int32_t>();
    for (std::int64_t n = 0; n < ids.elements(); ++n)
        check(id[n] >= 0 && id[n] < end, "embedding: id {} at {} is not below {}", id[n], n, end);
}

void gather_rows(Cpu, const Tensor& value, const Tensor& ids, Tensor& y) {
    const auto* row_ids = ids.data<std::int32_t>();
    const bool same = value.dtype() == y.dtype();
    const std::size_t row_bytes = static_cast<std::size_t>(y.columns()) * size_of(y.dtype());
    const auto& convert = TRAINER_PICK(convert_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < ids.elements(); ++n) {
        if (row_ids[n] < 0) continue;
        if (same) {
            std::memcpy(row_of(y, n), row_of(value, row_ids[n]), row_bytes);
        } else {
            convert(row_of(value, row_ids[n]), value.dtype(), row_of(y, n), y.columns());
        }
    }
}

}   // namespace

void pick_rows(const Tensor& value, const Tensor& ids, Tensor& y) {
    on(y.place(), [&](auto place) { gather_rows(place, value, ids, y); });
}

DenseWeight::DenseWeight(std::vector<Parameter*> parameters, DType storage, DType compute, Place place)
    : parameters_(std::move(parameters)), compute_(compute) {
    check(!parameters_.empty(), "dense weight: no parameters");
    const std::int64_t in = parameters_[0]->shape.columns();
    std::int64_t out = 0;
    for (const Parameter* parameter : parameters_) {
        check(parameter->shape.dimensions() == 2 && parameter->shape.columns() == in,
              "dense weight: {} is {}, expected {} columns", parameter->name, parameter->shape.text(), in);
        out += parameter->shape.rows();
    }
    const PurposeScope purpose(Purpose::weights);
    value_ = Tensor::empty({out, in}, storage, place);
    std::int64_t row = 0;
    for (Parameter* parameter : parameters_) {
        parameter->value = value_.row_range(row, row + parameter->shape.rows());
        parameter->changed();
        row += parameter->shape.rows();
    }
}

const Tensor& DenseWeight::computed() const {
    if (value_.dtype() == compute_) return value_;
    if (copy_version_ != version()) {
        const PurposeScope purpose(Purpose::weights);
        if (!copy_.defined()) copy_ = Tensor::empty(value_.shape(), compute_, value_.place());
        copy(value_, copy_);
        copy_version_ = version();
    }
    return copy_;
}

void DenseWeight::forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                               bool accumulate) const {
    const Tensor weight = computed().row_range(begin, end);
    product(y, x, false, weight, true, accumulate);
}

bool DenseWeight::forward_with_bias(const Tensor& x, const Tensor& bias, Tensor& y) const {
    return place().on_device() && product_with_bias(y, x, computed(), bias);
}

void DenseWeight::grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                                  bool accumulate) const {
    const Tensor weight = computed().row_range(begin, end);
    product(dx, dy, false, weight, false, accumulate);
}

void DenseWeight::rows(const Tensor& ids, Tensor& y) const {
    check(y.rows() == ids.elements() && y.columns() == in_features(), "dense weight: rows of {} for {} ids into {}",
          value_.shape().text(), ids.elements(), y.shape().text());
    if (!ids.place().is_meta()) check_ids(ids, value_.rows());
    const PurposeScope purpose(Purpose::workspace);
    pick_rows(value_, on_place(ids, place()), y);
}

Tensor DenseWeight::dense(DType dtype) const { return converted(value_, dtype); }

std::size_t DenseWeight::bytes() const { return value_.bytes() + (copy_.defined() ? copy_.bytes() : 0); }

std::uint64_t DenseWeight::version() const {
    std::uint64_t sum = 0;   // each part only grows
    for (const Parameter* parameter : parameters_) sum += parameter->version();
    return sum;
}

}   // namespace trainer
