#include "autograd/ops/rms_norm.h"

#include <algorithm>
#include <utility>

#include "autograd/cpu/rms_norm_kernels.h"
#include "autograd/cpu/rows.h"
#include "autograd/ops/rms_norm_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// Rows whose weight gradients are summed by one thread; the sums of the blocks are then added in their order.
constexpr std::int64_t sum_rows_together = 64;

void check_inputs(const char* op, const Tensor& x, const Parameter& weight) {
    require_computable(op, x);
    check(weight.value.defined() && weight.shape.elements() == x.columns(), "{}: weight {} for {} columns", op,
          weight.shape.text(), x.columns());
}

// sum is undefined without a residual.
void rms_norm_forward(Cpu, const Tensor& x, const Tensor& residual, const Tensor& weight, float eps, Tensor& sum,
                      Tensor& y, Tensor& rstd) {
    const auto& kernel = TRAINER_PICK(rms_norm_forward_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < x.rows(); ++n) {
        const bool add = residual.defined();
        kernel({row_of(x, n), add ? row_of(residual, n) : nullptr, weight.raw(), add ? row_of(sum, n) : nullptr,
                row_of(y, n), rstd.data<float>() + n, eps},
               x.dtype(), x.columns());
    }
}

// dsum, dx and block_sums (blocks, C) may be undefined.
void rms_norm_backward(Cpu, const Tensor& x, const Tensor& weight, const Tensor& rstd, const Tensor& dy,
                       const Tensor& dsum, Tensor& dx, Tensor& block_sums, std::int64_t block_rows) {
    const auto& kernel = TRAINER_PICK(rms_norm_backward_row);
    const std::int64_t blocks = (x.rows() + block_rows - 1) / block_rows;
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks; ++block) {
        float* dweight = block_sums.defined() ? block_sums.data<float>() + block * x.columns() : nullptr;
        if (dweight) std::fill_n(dweight, x.columns(), 0.0f);
        for (std::int64_t n = block * block_rows; n < std::min(x.rows(), (block + 1) * block_rows); ++n)
            kernel({row_of(x, n), weight.raw(), row_of(dy, n), dsum.defined() ? row_of(dsum, n) : nullptr,
                    dx.defined() ? row_of(dx, n) : nullptr, dweight, rstd.data<float>()[n]},
                   x.dtype(), x.columns());
    }
}

void add_block_sums(Cpu cpu, const Tensor& block_sums, Tensor& dweight) {
    fill_rows(cpu, dweight, 0);
    Tensor row = dweight.reshaped({1, block_sums.columns()});
    for (std::int64_t block = 0; block < block_sums.rows(); ++block)
        add_rows(cpu, row, block_sums.row_range(block, block + 1));
}

// Adds the weight's gradient and returns that of the normalised rows, undefined unless `want_x`. It is written over
// dy or dsum when nobody else needs them.
Tensor backward_of(const Tensor& x, Parameter& weight, const Tensor& rstd, Tensor dy, Tensor dsum, bool want_x) {
    Tensor dx;
    const bool over_dy = dy.sole_owner();
    const bool over_dsum = dsum.defined() && dsum.sole_owner();
    if (want_x) dx = over_dy ? dy : over_dsum ? dsum : Tensor::empty(x.shape(), x.dtype(), x.place());
    Tensor block_sums;
    if (weight.trainable) {
        const PurposeScope purpose(Purpose::workspace);
        block_sums =
            Tensor::empty({(x.rows() + sum_rows_together - 1) / sum_rows_together, x.columns()}, DType::f32, x.place());
    }
    const Tensor& w = weight.in(x.dtype());
    on(x.place(),
       [&](auto place) { rms_norm_backward(place, x, w, rstd, dy, dsum, dx, block_sums, sum_rows_together); });
    if (weight.trainable) {
        Tensor dweight;
        {
            const PurposeScope purpose(Purpose::gradients);
            dweight = Tensor::empty(weight.shape, DType::f32, x.place());
        }
        on(x.place(), [&](auto place) { add_block_sums(place, block_sums, dweight); });
        weight.add_gradient(std::move(dweight));
    }
    return dx;
}

}   // namespace

Tensor rms_norm(const Tensor& x, Parameter& weight, float eps) {
    check_inputs("rms_norm", x, weight);
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    Tensor rstd = Tensor::empty(x.rows(), DType::f32, x.place());
    const Tensor& w = weight.in(x.dtype());
    Tensor no_sum;
    on(x.place(), [&](auto place) { rms_norm_forward(place, x, Tensor(), w, eps, no_sum, y, rstd); });
    OpCall({"rms_norm", &weight}, {&x}, weight.trainable)
        .made({&y}, [x, rstd, &weight](std::span<Tensor> dy, Gradients& gradients) {
            Tensor dx = backward_of(x, weight, rstd, std::move(dy[0]), Tensor(), gradients.wants(x));
            if (dx.defined()) gradients.add(x, std::move(dx));
        });
    return y;
}

AddNorm add_rms_norm(const Tensor& x, const Tensor& residual, Parameter& weight, float eps) {
    check_inputs("add_rms_norm", x, weight);
    check(x.shape() == residual.shape() && x.dtype() == residual.dtype(), "add_rms_norm: {} {} and residual {} {}",
          name_of(x.dtype()), x.shape().text(), name_of(residual.dtype()), residual.shape().text());
    AddNorm out{Tensor::empty(x.shape(), x.dtype(), x.place()), Tensor::empty(x.shape(), x.dtype(), x.place())};
    Tensor rstd = Tensor::empty(x.rows(), DType::f32, x.place());
    const Tensor& w = weight.in(x.dtype());
    on(x.place(), [&](auto place) { rms_norm_forward(place, x, residual, w, eps, out.sum, out.norm, rstd); });
    OpCall({"add_rms_norm", &weight}, {&x, &residual}, weight.trainable)
        .made({&out.sum, &out.norm}, [x = x.without_value(), residual = residual.without_value(),
                                      sum = out.sum.detached(), rstd, &weight](std::span<Tensor> d, Gradients& g) {
            Tensor dx = std::move(d[0]);   // of the sum
            if (d[1].defined()) {
                const bool want_x = g.wants(x) || g.wants(residual);
                dx = backward_of(sum, weight, rstd, std::move(d[1]), std::move(dx), want_x);
            }
            if (!dx.defined()) return;
            g.add(x, dx);
            g.add(residual, std::move(dx));
        });
    return out;
}

}   // namespace trainer
