#include "autograd/ops/linear.h"

#include <utility>

#include "autograd/ops/linear_products.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

Tensor linear(const Tensor& x, const LinearTerms& terms, const Layout& layout, bool training) {
    check(x.columns() == terms.weight->in_features(), "linear: {} for a weight with {} inputs", x.shape().text(),
          terms.weight->in_features());
    const Tensor token_keys = training ? layout.token_keys : Tensor();
    Tensor y = Tensor::empty({x.rows(), terms.weight->out_features()}, x.dtype(), x.place());
    std::vector<Tensor> hidden = linear_forward(x, terms, token_keys, y);

    const OpCall call(named("linear", terms), {&x}, anything_trainable(terms));
    for (const DenseTerm& term : terms.dense) call.show_columns(y, term.row_begin, term.row_end, term.weight);
    call.made({&y}, [x = needs_input(terms) ? x : x.without_value(), &terms, token_keys, hidden = std::move(hidden)](
                        std::span<Tensor> dy, Gradients& gradients) {
        const GradientOf gradient_of = [](Parameter& parameter) -> Tensor& { return parameter.gradient; };
        Tensor dx;
        if (gradients.wants(x)) dx = Tensor::empty(x.shape(), x.dtype(), dy[0].place());
        linear_backward(x, dy[0], terms, token_keys, hidden, gradient_of, dx.defined() ? &dx : nullptr);
        if (dx.defined()) gradients.add(x, std::move(dx));
    });
    return y;
}

}   // namespace trainer
