#include "autograd/ops/add.h"

#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/cuda/rows.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// y = a + sign · b
Tensor signed_sum(const char* op, const Tensor& a, const Tensor& b, float sign) {
    check(a.shape() == b.shape() && a.dtype() == b.dtype(), "{}: {} {} and {} {}", op, name_of(a.dtype()),
          a.shape().text(), name_of(b.dtype()), b.shape().text());
    Tensor y = Tensor::empty(a.shape(), a.dtype(), a.place());
    on(y.place(), [&](auto place) {
        if (sign > 0) {
            sum_rows(place, a, b, y);
        } else {
            copy_rows(place, b, y);
            scale_rows(place, y, sign);
            add_rows(place, y, a);
        }
    });
    OpCall({op}, {&a, &b})
        .made({&y}, [a = a.without_value(), b = b.without_value(), sign](std::span<Tensor> dy, Gradients& gradients) {
            gradients.add(a, dy[0]);
            if (sign < 0 && gradients.wants(b)) {
                dy[0] = owned(std::move(dy[0]));
                on(dy[0].place(), [&](auto place) { scale_rows(place, dy[0], sign); });
            }
            gradients.add(b, std::move(dy[0]));
        });
    return y;
}

}   // namespace

Tensor add(const Tensor& a, const Tensor& b) { return signed_sum("add", a, b, 1); }

Tensor subtract(const Tensor& a, const Tensor& b) { return signed_sum("subtract", a, b, -1); }

}   // namespace trainer
