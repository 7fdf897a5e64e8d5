#include "autograd/ops/block_rotation.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "autograd/cpu/gemm.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr float factors[] = {1, 2, 2, 2, 1};   // of the powers of Q
constexpr std::size_t degree = std::size(factors) - 1;

using Matrix = std::vector<float>;   // (b, b)

// out = a b
Matrix product(const Matrix& a, const Matrix& b, std::int64_t n) {
    Matrix out(a.size());
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t k = 0; k < n; ++k) {
            const float factor = a[static_cast<std::size_t>(i * n + k)];
            const float* from = b.data() + k * n;
            float* to = out.data() + i * n;
            for (std::int64_t j = 0; j < n; ++j) to[j] += factor * from[j];
        }
    return out;
}

Matrix transposed(const Matrix& a, std::int64_t n) {
    Matrix out(a.size());
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j)
            out[static_cast<std::size_t>(j * n + i)] = a[static_cast<std::size_t>(i * n + j)];
    return out;
}

Matrix skew(const float* upper, std::int64_t n) {
    Matrix q(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = i + 1; j < n; ++j) {
            q[static_cast<std::size_t>(i * n + j)] = *upper;
            q[static_cast<std::size_t>(j * n + i)] = -*upper++;
        }
    return q;
}

// By Horner's rule H_degree = f I, H_k = f_k I + Q H_(k+1); H_0 is R. All of them, from H_0.
std::vector<Matrix> horner(const Matrix& q, std::int64_t n) {
    std::vector<Matrix> all(degree + 1);
    for (std::size_t k = degree + 1; k-- > 0;) {
        all[k] = k == degree ? Matrix(q.size()) : product(q, all[k + 1], n);
        for (std::int64_t i = 0; i < n; ++i) all[k][static_cast<std::size_t>(i * n + i)] += factors[k];
    }
    return all;
}

void make_rotations(Cpu, const Tensor& upper, std::int64_t n, Tensor& out) {
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < upper.rows(); ++block) {
        const Matrix q = skew(upper.data<float>() + block * upper.columns(), n);
        const Matrix rotation = horner(q, n).front();
        std::copy(rotation.begin(), rotation.end(), out.data<float>() + block * n * n);
    }
}

// gradient (as upper) += what `change` (as the rotations) comes to for the elements above the diagonal
void add_upper_gradient(Cpu, const Tensor& upper, const Tensor& change, std::int64_t n, Tensor& gradient) {
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < upper.rows(); ++block) {
        const Matrix q = skew(upper.data<float>() + block * upper.columns(), n), turned = transposed(q, n);
        const std::vector<Matrix> steps = horner(q, n);
        const auto* from = change.data<float>() + block * n * n;
        Matrix of_step(from, from + n * n), of_q(q.size());
        for (std::size_t k = 0; k < degree; ++k) {   // H_k = f I + Q H_(k+1)
            const Matrix part = product(of_step, transposed(steps[k + 1], n), n);
            std::transform(of_q.begin(), of_q.end(), part.begin(), of_q.begin(), std::plus<>());
            of_step = product(turned, of_step, n);
        }
        auto* to = gradient.data<float>() + block * upper.columns();
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = i + 1; j < n; ++j)
                *to++ += of_q[static_cast<std::size_t>(i * n + j)] - of_q[static_cast<std::size_t>(j * n + i)];
    }
}

// y = x times the rotations, or their transposes; all f32
void rotate(Cpu cpu, const Tensor& x, const Tensor& rotations, bool transpose, Tensor& y) {
    const std::int64_t n = rotations.columns();
    for (std::int64_t begin = 0; begin < x.columns(); begin += n) {
        Tensor to = y.column_range(begin, begin + n);
        gemm(cpu, to, x.column_range(begin, begin + n), false, rotations.row_range(begin, begin + n), transpose, false);
    }
}

}   // namespace

Tensor block_rotations(Parameter& upper, std::int64_t block) {
    const Tensor values = upper.in(DType::f32);
    Tensor out = Tensor::empty({upper.shape.rows() * block, block}, DType::f32, upper.value.place());
    on(out.place(), [&](Cpu cpu) { make_rotations(cpu, values, block, out); });
    return out;
}

Tensor block_rotation(const Tensor& x, Parameter& upper, std::int64_t block) {
    check(upper.shape.rows() * block == x.columns() && 2 * upper.shape.columns() == block * (block - 1),
          "block_rotation: {} in blocks of {} with {}", x.shape().text(), block, upper.shape.text());
    Tensor y;
    {
        const PurposeScope purpose(Purpose::workspace);
        const Tensor exact = converted(x, DType::f32), rotations = block_rotations(upper, block);
        Tensor turned = Tensor::empty(x.shape(), DType::f32, x.place());
        on(x.place(), [&](Cpu cpu) { rotate(cpu, exact, rotations, false, turned); });
        y = Tensor::empty(x.shape(), x.dtype(), x.place());
        copy(turned, y);
    }
    OpCall({"block_rotation", &upper}, {&x}, upper.trainable)
        .made({&y},
              [x = upper.trainable ? x : x.without_value(), &upper, block](std::span<Tensor> dy, Gradients& gradients) {
                  const PurposeScope purpose(Purpose::workspace);
                  const Place place = dy[0].place();
                  const Tensor exact = converted(dy[0], DType::f32);
                  if (upper.trainable) {
                      if (!upper.gradient.defined()) upper.gradient = upper.zeroed_gradient(place);
                      const Tensor input = converted(x, DType::f32);
                      Tensor change = Tensor::empty({x.columns(), block}, DType::f32, place);
                      on(place, [&](Cpu cpu) {
                          for (std::int64_t begin = 0; begin < x.columns(); begin += block) {
                              Tensor part = change.row_range(begin, begin + block);
                              gemm(cpu, part, input.column_range(begin, begin + block), true,
                                   exact.column_range(begin, begin + block), false, false);
                          }
                          add_upper_gradient(cpu, upper.in(DType::f32), change, block, upper.gradient);
                      });
                  }
                  if (!gradients.wants(x)) return;
                  const Tensor rotations = block_rotations(upper, block);
                  Tensor turned = Tensor::empty(x.shape(), DType::f32, place);
                  on(place, [&](Cpu cpu) { rotate(cpu, exact, rotations, true, turned); });
                  gradients.add(x, converted(turned, x.dtype()));
              });
    return y;
}

}   // namespace trainer
