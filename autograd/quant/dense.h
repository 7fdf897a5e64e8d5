#pragma once

#include <vector>

#include "autograd/parameter.h"
#include "autograd/quant/weight.h"

namespace trainer {

// Row n of y (N, C) f32 or bf16 = row ids[n] of `value`; a negative id leaves it as it is. ids (N) i32 are where the
// value is.
void pick_rows(const Tensor& value, const Tensor& ids, Tensor& y);

// A dense weight: one tensor of rows that may belong to several parameters (q, k, v …), stacked. Parameters hold
// views of it, so loading and updating them writes here. When `compute` differs from the stored dtype a converted copy
// is kept and renewed when a parameter's version changes.
class DenseWeight : public Weight {
public:
    // Allocates the stacked tensor in `storage` dtype and points each parameter's value at its rows.
    // All parameters have the same number of columns.
    DenseWeight(std::vector<Parameter*> parameters, DType storage, DType compute, Place place);

    std::int64_t out_features() const override { return value_.rows(); }
    std::int64_t in_features() const override { return value_.columns(); }
    Place place() const override { return value_.place(); }
    void forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y, bool accumulate) const override;
    bool forward_with_bias(const Tensor& x, const Tensor& bias, Tensor& y) const override;
    void grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                         bool accumulate) const override;
    void rows(const Tensor& ids, Tensor& y) const override;
    Tensor dense(DType dtype) const override;
    std::size_t bytes() const override;
    std::uint64_t version() const override;

private:
    const Tensor& computed() const;   // value_ in the compute dtype, up to date

    std::vector<Parameter*> parameters_;
    Tensor value_;
    DType compute_;
    mutable Tensor copy_;
    mutable std::uint64_t copy_version_ = 0;
};

}   // namespace trainer
