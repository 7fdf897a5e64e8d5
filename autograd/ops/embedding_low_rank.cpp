#include "autograd/ops/embedding_low_rank.h"

#include <utility>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/ops/embedding_low_rank_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// h (N, r) f32 = scale · A[:, id]
template <typename Element>
void pick_scaled(const Tensor& a, const Tensor& ids, float scale, Tensor& h) {
    const auto* id = ids.data<std::int32_t>();
    const auto* from = a.data<Element>();
    auto* to = h.data<float>();
    const std::int64_t rank = a.rows();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < ids.elements(); ++n)
        for (std::int64_t k = 0; k < rank; ++k)
            to[n * rank + k] = scale * static_cast<float>(from[k * a.columns() + id[n]]);
}

void pick_scaled(Cpu, const Tensor& a, const Tensor& ids, float scale, Tensor& h) {
    if (a.dtype() == DType::bf16)
        pick_scaled<bf16>(a, ids, scale, h);
    else
        pick_scaled<float>(a, ids, scale, h);
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
    {
        const PurposeScope purpose(Purpose::workspace);
        const Tensor ids_there = on_place(ids, picked.place());
        on(picked.place(), [&](auto place) { pick_scaled(place, a.value, ids_there, scale, picked); });
    }
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
                const Tensor room = room_for_runs(ids, g.place());
                on(g.place(), [&](auto place) {
                    if constexpr (std::is_same_v<decltype(place), Cpu>)
                        add_to_columns(place, g, ids, scale, a.gradient);
                    else
                        add_runs_to_columns(place, runs_of(ids), g, scale, room, a.gradient);
                });
            }
            gradients.add(base, std::move(dy[0]));
        });
    return y;
}

}   // namespace trainer
