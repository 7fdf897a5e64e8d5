#include "autograd/ops/composed_update.h"

#include <utility>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/cuda/rows.h"
#include "autograd/ops/composed_update_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

Parameter& name_giver(const FactoredMatrix& matrix) { return matrix.whole ? *matrix.whole : *matrix.a; }
std::int64_t rows_of(const FactoredMatrix& matrix) { return name_giver(matrix).shape.rows(); }
std::int64_t columns_of(const FactoredMatrix& matrix) {
    return (matrix.whole ? matrix.whole : matrix.b)->shape.columns();
}

Tensor exact(const Parameter& parameter) { return converted(parameter.value, DType::f32); }

Tensor value_of(const FactoredMatrix& matrix) {
    if (matrix.whole) return exact(*matrix.whole);
    const Tensor a = exact(*matrix.a), b = exact(*matrix.b);
    Tensor out = Tensor::empty({rows_of(matrix), columns_of(matrix)}, DType::f32, a.place());
    product(out, a, false, b, false, false);
    return out;
}

// gradient += op(a) op(b)
void add_product(Parameter& parameter, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b) {
    const bool accumulate = parameter.gradient.defined();
    if (!accumulate) {
        const PurposeScope purpose(Purpose::gradients);
        parameter.gradient = Tensor::empty(parameter.shape, DType::f32, a.place());
    }
    product(parameter.gradient, a, transpose_a, b, transpose_b, accumulate);
}

void add_gradient(const FactoredMatrix& matrix, Tensor gradient) {
    if (matrix.whole) return matrix.whole->add_gradient(std::move(gradient));
    add_product(*matrix.a, gradient, false, exact(*matrix.b), true);
    add_product(*matrix.b, exact(*matrix.a), true, gradient, false);
}

// out (rows, columns) f32: element by element, and what a block of D has to do with its place in the other matrix.
void compose(Cpu, Composition how, const Tensor& first, const Tensor& second, float scale, Tensor& out) {
    const bool blocks = how == Composition::kronecker;
    const std::int64_t height = blocks ? second.rows() : 1, width = blocks ? second.columns() : 1;
#pragma omp parallel for schedule(static)
    for (std::int64_t o = 0; o < out.rows(); ++o) {
        const auto* f = first.data<float>() + o / height * first.stride();
        const auto* s = second.data<float>() + (blocks ? o % height : o) * second.stride();
        auto* to = out.data<float>() + o * out.stride();
        for (std::int64_t i = 0; i < out.columns(); ++i) to[i] = scale * f[i / width] * s[blocks ? i % width : i];
    }
}

// Gradients of a Kronecker product for that of D: of the first matrix, a sum over a block in order.
void first_gradient(Cpu, const Tensor& change, const Tensor& second, Tensor& out) {
    const std::int64_t height = second.rows(), width = second.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < out.rows(); ++i)
        for (std::int64_t j = 0; j < out.columns(); ++j) {
            float sum = 0;
            for (std::int64_t k = 0; k < height; ++k) {
                const auto* from = change.data<float>() + (i * height + k) * change.stride() + j * width;
                const auto* s = second.data<float>() + k * second.stride();
                float row = 0;
                for (std::int64_t l = 0; l < width; ++l) row += from[l] * s[l];
                sum += row;
            }
            out.data<float>()[i * out.stride() + j] = sum;
        }
}

// Of the second, a sum over all blocks in order.
void second_gradient(Cpu, const Tensor& change, const Tensor& first, Tensor& out) {
    const std::int64_t height = out.rows(), width = out.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t k = 0; k < height; ++k) {
        auto* to = out.data<float>() + k * out.stride();
        for (std::int64_t l = 0; l < width; ++l) to[l] = 0;
        for (std::int64_t i = 0; i < first.rows(); ++i)
            for (std::int64_t j = 0; j < first.columns(); ++j) {
                const auto* from = change.data<float>() + (i * height + k) * change.stride() + j * width;
                const float factor = first.data<float>()[i * first.stride() + j];
                for (std::int64_t l = 0; l < width; ++l) to[l] += factor * from[l];
            }
    }
}

// Adds the gradients of both matrices for that of D.
void add_gradients(const ComposedMatrix& matrix, const Tensor& change) {
    const Tensor first = value_of(matrix.first), second = value_of(matrix.second);
    const auto empty = [&](const FactoredMatrix& part, const Tensor& like) {   // the first of a whole one is kept
        const bool kept = part.whole && !part.whole->gradient.defined();
        const PurposeScope purpose(kept ? Purpose::gradients : Purpose::workspace);
        return Tensor::empty(like.shape(), DType::f32, change.place());
    };
    Tensor of_first = empty(matrix.first, first), of_second = empty(matrix.second, second);
    on(change.place(), [&](auto place) {
        if (matrix.how == Composition::elementwise) {
            compose(place, matrix.how, change, second, 1, of_first);
            compose(place, matrix.how, change, first, 1, of_second);
        } else {
            first_gradient(place, change, second, of_first);
            second_gradient(place, change, first, of_second);
        }
    });
    add_gradient(matrix.first, std::move(of_first));
    add_gradient(matrix.second, std::move(of_second));
}

Shape shape_of(const ComposedMatrix& matrix) {
    const bool blocks = matrix.how == Composition::kronecker;
    return {rows_of(matrix.first) * (blocks ? rows_of(matrix.second) : 1),
            columns_of(matrix.first) * (blocks ? columns_of(matrix.second) : 1)};
}

}   // namespace

Tensor composed_value(const ComposedMatrix& matrix, DType dtype) {
    const Tensor first = value_of(matrix.first), second = value_of(matrix.second);
    Tensor out = Tensor::empty(shape_of(matrix), DType::f32, first.place());
    on(out.place(), [&](auto place) { compose(place, matrix.how, first, second, matrix.scale, out); });
    return converted(out, dtype);
}

Tensor composed_update(const Tensor& base, const Tensor& x, const ComposedMatrix& matrix) {
    const Shape shape = shape_of(matrix);
    check(base.columns() == shape.rows() && x.columns() == shape.columns(),
          "composed_update: {} of {} with a change {}", base.shape().text(), x.shape().text(), shape.text());
    Tensor y = Tensor::empty(base.shape(), base.dtype(), base.place());
    copy(base, y);
    {
        const PurposeScope purpose(Purpose::workspace);
        const Tensor change = composed_value(matrix, x.dtype());
        product(y, x, false, change, true, true);
    }
    Parameter& named = name_giver(matrix.first);
    OpCall({"composed_update", &named}, {&base, &x}, named.trainable)
        .made({&y}, [base = base.without_value(), x = named.trainable ? x : x.without_value(), matrix, shape,
                     trainable = named.trainable](std::span<Tensor> dy, Gradients& gradients) {
            const Place place = dy[0].place();
            if (gradients.wants(x)) {
                Tensor dx = Tensor::empty(x.shape(), x.dtype(), place);
                const PurposeScope purpose(Purpose::workspace);
                const Tensor change = composed_value(matrix, dy[0].dtype());
                product(dx, dy[0], false, change, false, false);
                gradients.add(x, std::move(dx));
            }
            if (trainable) {
                const PurposeScope purpose(Purpose::workspace);
                Tensor change = Tensor::empty(shape, DType::f32, place);
                product(change, dy[0], true, x, false, false);
                on(place, [&](auto here) { scale_rows(here, change, matrix.scale); });
                add_gradients(matrix, change);
            }
            gradients.add(base, std::move(dy[0]));
        });
    return y;
}

}   // namespace trainer
