#include "autograd/ops/linear_products.h"

#include <algorithm>
#include <cstring>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/cpu/rows_kernels.h"
#include "autograd/cuda/gemm.h"
#include "autograd/cuda/rows.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/linear_products_cuda.h"

namespace trainer {

namespace {

bool is_trainable(const Parameter* parameter) { return parameter && parameter->trainable; }

bool any_trainable_row(const LinearTerms& terms) {
    return std::any_of(terms.replaced.begin(), terms.replaced.end(),
                       [](const ReplacedRows& replaced) { return is_trainable(replaced.rows); });
}

void add_bias(Cpu, Tensor& y, const Tensor& bias) {   // bias (C), y (N, C)
    const auto& add = TRAINER_PICK(add_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < y.rows(); ++n) add(row_of(y, n), y.dtype(), bias.raw(), bias.dtype(), y.columns());
}

// sum (C) f32 += columns of dy: rows are summed in blocks of 256, then the blocks, in order.
void add_column_sums(Cpu, const Tensor& dy, Tensor& sum) {
    constexpr std::int64_t block = 256;
    constexpr std::int64_t width = 64;
    const auto& add = TRAINER_PICK(add_row);
#pragma omp parallel for schedule(static)
    for (std::int64_t column = 0; column < dy.columns(); column += width) {
        const std::int64_t count = std::min(width, dy.columns() - column);
        for (std::int64_t row = 0; row < dy.rows(); row += block) {
            float part[width] = {};
            for (std::int64_t n = row; n < std::min(row + block, dy.rows()); ++n)
                add(part, DType::f32, row_of(dy, n) + column * static_cast<std::int64_t>(size_of(dy.dtype())),
                    dy.dtype(), count);
            add(sum.data<float>() + column, DType::f32, part, DType::f32, count);
        }
    }
}

// gradient += aᵀ b
void add_weight_gradient(Parameter& parameter, const GradientOf& gradient_of, const Tensor& a, const Tensor& b) {
    Tensor& gradient = gradient_of(parameter);
    const bool accumulate = gradient.defined();
    if (!accumulate) {
        const PurposeScope purpose(Purpose::gradients);
        gradient = Tensor::empty(parameter.shape, DType::f32, a.place());
    }
    product(gradient, a, true, b, false, accumulate);
}

Tensor masked(const Tensor& x, const LowRankTerm& term, const Tensor& token_keys) {
    if (!token_keys.defined() || term.dropout == 0) return x;
    const PurposeScope purpose(Purpose::workspace);
    Tensor out = Tensor::empty(x.shape(), x.dtype(), x.place());
    apply_dropout(x, out, term.dropout, term.site, token_keys);
    return out;
}

// scale · a · op(b), rounded once to a's dtype
Tensor scaled_product(const Tensor& a, const Tensor& b, bool transpose_b, float scale) {
    const Shape shape(a.rows(), transpose_b ? b.rows() : b.columns());
    if (a.place().on_device()) {
        Tensor out = Tensor::empty(shape, a.dtype(), a.place());
        on(out.place(), [&](auto place) {
            if constexpr (std::is_same_v<decltype(place), Cuda>)
                gemm(place, out, a, false, b, transpose_b, false, scale);
        });
        return out;
    }
    const DType dtype = scale == 1 ? a.dtype() : DType::f32;
    Tensor out = Tensor::empty(shape, dtype, a.place());
    product(out, a, false, b, transpose_b, false);
    if (scale != 1) on(out.place(), [&](auto place) { scale_rows(place, out, scale); });
    return converted(out, a.dtype());
}

// dx += mask(g · A)
void add_low_rank_input_gradient(const LowRankTerm& term, const Tensor& g, const Tensor& token_keys, Tensor& dx) {
    const Tensor& a = term.a->in(g.dtype());
    if (!token_keys.defined() || term.dropout == 0) {
        product(dx, g, false, a, false, true);
        return;
    }
    const PurposeScope purpose(Purpose::workspace);
    Tensor through = Tensor::empty(dx.shape(), dx.dtype(), dx.place());
    product(through, g, false, a, false, false);
    apply_dropout(through, through, term.dropout, term.site, token_keys);
    on(dx.place(), [&](auto place) { add_rows(place, dx, through); });
}

// to (N, ids) = factor · columns of `from` picked by the ids; one dtype, f32 or bf16
template <typename Element>
void pick_columns(const Tensor& from, const Tensor& ids, float factor, Tensor& to) {
    const auto* id = ids.data<std::int32_t>();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < from.rows(); ++n) {
        const auto* in = reinterpret_cast<const Element*>(row_of(from, n));
        auto* out = reinterpret_cast<Element*>(row_of(to, n));
        for (std::int64_t k = 0; k < ids.elements(); ++k) out[k] = Element(factor * static_cast<float>(in[id[k]]));
    }
}

void pick_columns(Cpu, const Tensor& from, const Tensor& ids, float factor, Tensor to) {
    if (from.dtype() == DType::f32)
        pick_columns<float>(from, ids, factor, to);
    else
        pick_columns<bf16>(from, ids, factor, to);
}

void store_columns(Cpu, const Tensor& from, const Tensor& ids, Tensor& to) {
    const auto* id = ids.data<std::int32_t>();
    const auto size = static_cast<std::int64_t>(size_of(to.dtype()));
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < to.rows(); ++n)
        for (std::int64_t k = 0; k < ids.elements(); ++k)
            std::memcpy(row_of(to, n) + id[k] * size, row_of(from, n) + k * size, static_cast<std::size_t>(size));
}

// On the host: looking up rows wants them there.
Tensor ids_of(const ReplacedRows& replaced, Place place) {
    const auto count = static_cast<std::int64_t>(replaced.ids.size());
    return place.is_meta() ? Tensor::empty(count, DType::i32, place.host())
                           : Tensor::from<std::int32_t>(replaced.ids, count);
}

// y[:, ids[k]] = x · rows[k]
void replace_columns(const Tensor& x, const ReplacedRows& replaced, Tensor& y) {
    const PurposeScope purpose(Purpose::workspace);
    Tensor columns = Tensor::empty({x.rows(), replaced.rows->shape.rows()}, y.dtype(), y.place());
    const Tensor& rows = replaced.rows->in(x.dtype());
    product(columns, x, false, rows, true, false);
    const Tensor ids = on_place(ids_of(replaced, y.place()), y.place());
    on(y.place(), [&](auto place) { store_columns(place, columns, ids, y); });
}

// rows gain dy[:, ids]ᵀ x; dx, which holds dy W, gains dy[:, ids] (rows − W[ids]).
void replaced_backward(const Tensor& x, const Tensor& dy, const Weight& weight, const ReplacedRows& replaced,
                       const GradientOf& gradient_of, Tensor* dx) {
    const PurposeScope purpose(Purpose::workspace);
    const std::int64_t count = replaced.rows->shape.rows();
    Tensor columns = Tensor::empty({dy.rows(), 2 * count}, dy.dtype(), dy.place());   // dy and −dy
    const Tensor ids = ids_of(replaced, dy.place()), ids_there = on_place(ids, dy.place());
    on(dy.place(), [&](auto place) {
        pick_columns(place, dy, ids_there, 1, columns.column_range(0, count));
        pick_columns(place, dy, ids_there, -1, columns.column_range(count, 2 * count));
    });
    if (replaced.rows->trainable) add_weight_gradient(*replaced.rows, gradient_of, columns.column_range(0, count), x);
    if (!dx) return;
    Tensor both = Tensor::empty({2 * count, weight.in_features()}, dy.dtype(), dy.place());   // rows and W[ids]
    Tensor own = both.row_range(0, count), original = both.row_range(count, 2 * count);
    copy(replaced.rows->in(dy.dtype()), own);
    weight.rows(ids, original);
    product(*dx, columns, false, both, false, true);
}

}   // namespace

OpName named(const char* op, const LinearTerms& terms) {
    return terms.dense.empty() ? OpName{op} : OpName{op, terms.dense.front().weight, terms.dense.size() > 1};
}

bool anything_trainable(const LinearTerms& terms) {
    return std::any_of(terms.dense.begin(), terms.dense.end(),
                       [](const DenseTerm& term) { return is_trainable(term.weight) || is_trainable(term.bias); }) ||
           std::any_of(terms.low_rank.begin(), terms.low_rank.end(),
                       [](const LowRankTerm& term) { return is_trainable(term.a) || is_trainable(term.b); }) ||
           any_trainable_row(terms);
}

bool needs_input(const LinearTerms& terms) {
    return std::any_of(terms.dense.begin(), terms.dense.end(),
                       [](const DenseTerm& term) { return is_trainable(term.weight); }) ||
           std::any_of(terms.low_rank.begin(), terms.low_rank.end(),
                       [](const LowRankTerm& term) { return is_trainable(term.a); }) ||
           any_trainable_row(terms);
}

std::vector<Tensor> linear_forward(const Tensor& x, const LinearTerms& terms, const Tensor& token_keys, Tensor& y) {
    const bool biased = terms.bias.defined() && terms.bias.dtype() == y.dtype() && terms.replaced.empty() &&
                        terms.weight->forward_with_bias(x, terms.bias, y);
    if (!biased) terms.weight->forward(x, y, false);
    for (const ReplacedRows& replaced : terms.replaced) replace_columns(x, replaced, y);
    for (const DenseTerm& term : terms.dense) {
        if (!term.bias || biased) continue;
        Tensor columns = y.column_range(term.row_begin, term.row_end);
        on(y.place(), [&](auto place) { add_bias(place, columns, term.bias->value); });
    }
    std::vector<Tensor> hidden;
    for (const LowRankTerm& term : terms.low_rank) {
        hidden.push_back(scaled_product(masked(x, term, token_keys), term.a->in(x.dtype()), true, term.scale));
        Tensor columns = y.column_range(term.row_begin, term.row_end);
        product(columns, hidden.back(), false, term.b->in(x.dtype()), true, true);
    }
    return hidden;
}

void linear_backward(const Tensor& x, const Tensor& dy, const LinearTerms& terms, const Tensor& token_keys,
                     const std::vector<Tensor>& hidden, const GradientOf& gradient_of, Tensor* dx) {
    if (dx) terms.weight->grad_input(dy, *dx, false);
    for (const ReplacedRows& replaced : terms.replaced)
        replaced_backward(x, dy, *terms.weight, replaced, gradient_of, dx);
    for (const DenseTerm& term : terms.dense) {
        const Tensor columns = dy.column_range(term.row_begin, term.row_end);
        if (is_trainable(term.weight)) add_weight_gradient(*term.weight, gradient_of, columns, x);
        if (!is_trainable(term.bias)) continue;
        Tensor& gradient = gradient_of(*term.bias);
        if (!gradient.defined()) gradient = term.bias->zeroed_gradient(dy.place());
        on(dy.place(), [&](auto place) { add_column_sums(place, columns, gradient); });
    }
    for (std::size_t i = 0; i < terms.low_rank.size(); ++i) {
        const LowRankTerm& term = terms.low_rank[i];
        const Tensor columns = dy.column_range(term.row_begin, term.row_end);
        if (is_trainable(term.b)) add_weight_gradient(*term.b, gradient_of, columns, hidden[i]);
        if (!is_trainable(term.a) && !dx) continue;
        const Tensor g = scaled_product(columns, term.b->in(dy.dtype()), false, term.scale);
        if (is_trainable(term.a)) add_weight_gradient(*term.a, gradient_of, g, masked(x, term, token_keys));
        if (dx) add_low_rank_input_gradient(term, g, token_keys, *dx);
    }
}

}   // namespace trainer
