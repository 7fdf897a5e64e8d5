#include "autograd/ops/silu_mul.h"

#include "autograd/cpu/rows.h"
#include "autograd/cpu/silu_mul_kernels.h"
#include "autograd/ops/silu_mul_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

void silu_mul_forward(Cpu, const Tensor& gate_up, Tensor& y) {
    const auto& kernel = TRAINER_PICK(silu_mul_forward_row);
    const Tensor up = gate_up.column_range(y.columns(), gate_up.columns());
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < y.rows(); ++n)
        kernel(row_of(gate_up, n), row_of(up, n), row_of(y, n), y.dtype(), y.columns());
}

void silu_mul_backward(Cpu, const Tensor& gate_up, const Tensor& dy, Tensor& dgate_up) {
    const auto& kernel = TRAINER_PICK(silu_mul_backward_row);
    const Tensor up = gate_up.column_range(dy.columns(), gate_up.columns());
    const Tensor dup = dgate_up.column_range(dy.columns(), gate_up.columns());
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < dy.rows(); ++n)
        kernel(row_of(gate_up, n), row_of(up, n), row_of(dy, n), row_of(dgate_up, n), row_of(dup, n), dy.dtype(),
               dy.columns());
}

}   // namespace

Tensor silu_mul(const Tensor& gate_up) {
    check(gate_up.columns() % 2 == 0, "silu_mul: {} columns are not two halves", gate_up.columns());
    require_computable("silu_mul", gate_up);
    Tensor y = Tensor::empty({gate_up.rows(), gate_up.columns() / 2}, gate_up.dtype(), gate_up.place());
    on(y.place(), [&](auto place) { silu_mul_forward(place, gate_up, y); });
    OpCall({"silu_mul"}, {&gate_up})
        .made({&y}, [gate_up = gate_up](std::span<Tensor> dy, Gradients& gradients) mutable {
            const Tensor target = gate_up.without_value();
            Tensor dgate_up;   // over gate_up when nobody else needs it
            if (gate_up.sole_owner()) {
                dgate_up = gate_up;
            } else {
                dgate_up = Tensor::empty(gate_up.shape(), gate_up.dtype(), gate_up.place());
            }
            on(dgate_up.place(), [&](auto place) { silu_mul_backward(place, gate_up, dy[0], dgate_up); });
            gate_up = Tensor();
            gradients.add(target, std::move(dgate_up));
        });
    return y;
}

}   // namespace trainer
