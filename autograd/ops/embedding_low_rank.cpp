#include "autograd/ops/embedding_low_rank.h"

#include <utility>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// h (N, r) f32 = scale · A[:, id]
template <typename Element>
void pick_columns(const Tensor& a, const Tensor& ids, float scale, Tensor& h) {
    const auto* id = ids.data<std::int32_t>();
    const auto* from = a.data<Element>();
    auto* to = h.data<float>();
    const std::int64_t rank = a.rows();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < ids.elements(); ++n)
        for (std::int64_t k = 0; k < rank; ++k)
            to[n * rank + k] = scale * static_cast<float>(from[k * a.columns() + id[n]]);
}

// gradient (r, V)[k, id] += scale · g (N, r)
void add_to_columns(Cpu, const Tensor& g, const Tensor& ids, float scale, Tensor& gradient) {
    const auto* id = ids.data<std::int32_t>();
    const auto* from = g.data<float>();
    auto* to = gradient.data<float>();
    const std::int64_t rank = g.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t k = 0; k < rank; ++k)
        for (std::int64_t n = 0; n < ids.elements(); ++n)
            to[k * gradient.columns() + id[n]] += scale * from[n * rank + k];
}

}   // namespace

Tensor embedding_low_rank(const Tensor& base, const Tensor& ids, Parameter& a, Parameter& b, float scale) {
    check(a.shape.rows() == b.shape.columns() && b.shape.rows() == base.columns() && ids.elements() == base.rows(),
          "embedding_low_rank: {} with A {} and B {}", base.shape().text(), a.shape.text(), b.shape.text());
    Tensor picked = Tensor::empty({ids.elements(), a.shape.rows()}, DType::f32, base.place());
    on(picked.place(), [&](Cpu) {
        if (a.value.dtype() == DType::bf16)
            pick_columns<bf16>(a.value, ids, scale, picked);
        else
            pick_columns<float>(a.value, ids, scale, picked);
    });
    const Tensor h = converted(picked, base.dtype());   // (N, r)
    Tensor y = Tensor::empty(base.shape(), base.dtype(), base.place());
    copy(base, y);
    const Tensor& computed_b = b.in(y.dtype());
    product(y, h, false, computed_b, true, true);
    OpCall({"embedding_low_rank", &a}, {&base}, a.trainable || b.trainable)
        .made({&y}, [base = base.without_value(), ids, h, &a, &b, scale](std::span<Tensor> dy, Gradients& gradients) {
            if (b.trainable) {
                const bool accumulate = b.gradient.defined();
                if (!accumulate) {
                    const PurposeScope purpose(Purpose::gradients);
                    b.gradient = Tensor::empty(b.shape, DType::f32, h.place());
                }
                product(b.gradient, dy[0], true, h, false, accumulate);
            }
            if (a.trainable) {
                if (!a.gradient.defined()) a.gradient = a.zeroed_gradient(h.place());
                Tensor g = Tensor::empty(h.shape(), DType::f32, h.place());   // (N, r)
                const Tensor& computed = b.in(dy[0].dtype());
                product(g, dy[0], false, computed, false, false);
                on(g.place(), [&](Cpu cpu) { add_to_columns(cpu, g, ids, scale, a.gradient); });
            }
            gradients.add(base, std::move(dy[0]));
        });
    return y;
}

}   // namespace trainer
