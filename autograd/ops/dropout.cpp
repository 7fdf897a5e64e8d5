#include "autograd/ops/dropout.h"

#include <cmath>
#include <utility>

#include "autograd/cpu/dropout_kernels.h"
#include "autograd/cpu/rows.h"
#include "autograd/ops/dropout_cuda.h"
#include "autograd/random.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

void dropout_rows(Cpu, const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys) {
    const auto& kernel = TRAINER_PICK(dropout_row);
    const auto threshold = static_cast<std::uint32_t>(std::ceil(std::ldexp(p, 24)));
    const float scale = 1.0f / (1.0f - p);
    const auto* keys = token_keys.data<std::uint64_t>();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < in.rows(); ++n)
        kernel(row_of(in, n), row_of(out, n), in.dtype(), in.columns(), random_key(keys[n], site), threshold, scale);
}

}   // namespace

void apply_dropout(const Tensor& in, Tensor& out, float p, std::uint64_t site, const Tensor& token_keys) {
    check(p >= 0 && p < 1, "dropout: p = {} is not in [0, 1)", p);
    check(in.shape() == out.shape() && in.dtype() == out.dtype(), "dropout: {} {} into {} {}", name_of(in.dtype()),
          in.shape().text(), name_of(out.dtype()), out.shape().text());
    require_computable("dropout", in);
    check(token_keys.elements() == in.rows(), "dropout: {} token keys for {} rows", token_keys.elements(), in.rows());
    on(out.place(), [&](auto place) { dropout_rows(place, in, out, p, site, token_keys); });
}

Tensor dropout(const Tensor& x, float p, std::uint64_t site, const Layout& layout) {
    if (p == 0) return x;
    Tensor y = Tensor::empty(x.shape(), x.dtype(), x.place());
    apply_dropout(x, y, p, site, layout.token_keys);
    OpCall({"dropout"}, {&x})
        .made({&y},
              [x = x.without_value(), p, site, keys = layout.token_keys](std::span<Tensor> dy, Gradients& gradients) {
                  Tensor dx = dy[0].sole_owner() ? dy[0] : Tensor::empty(x.shape(), x.dtype(), dy[0].place());
                  apply_dropout(dy[0], dx, p, site, keys);
                  dy[0] = Tensor();
                  gradients.add(x, std::move(dx));
              });
    return y;
}

}   // namespace trainer
