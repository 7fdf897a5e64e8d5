#include "autograd/ops/add.h"

#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

Tensor add(const Tensor& a, const Tensor& b) {
    check(a.shape() == b.shape() && a.dtype() == b.dtype(), "add: {} {} and {} {}", name_of(a.dtype()),
          a.shape().text(), name_of(b.dtype()), b.shape().text());
    Tensor y = Tensor::empty(a.shape(), a.dtype(), a.place());
    on(y.place(), [&](Cpu cpu) { sum_rows(cpu, a, b, y); });
    OpCall({"add"}, {&a, &b})
        .made({&y}, [a = a.without_value(), b = b.without_value()](std::span<Tensor> dy, Gradients& gradients) {
            gradients.add(a, dy[0]);
            gradients.add(b, std::move(dy[0]));
        });
    return y;
}

}   // namespace trainer
