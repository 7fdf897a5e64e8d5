#include "autograd/ops/block_rotation.h"

#include <algorithm>
#include <array>
#include <utility>

#include "autograd/cpu/gemm.h"
#include "autograd/ops/block_rotation_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr float factors[] = {1, 2, 2, 2, 1};   // of the powers of Q
constexpr std::size_t degree = std::size(factors) - 1;

// Blocks that are worked on at once, which bounds the workspace: on the CPU enough rows to share between threads, on a
// GPU all.
std::int64_t blocks_at_once(std::int64_t blocks, std::int64_t n, Place place) {
    return place.on_device() ? blocks : std::min(blocks, std::max<std::int64_t>(1, 1024 / n));
}

// Matrices (n, n) of all blocks that are worked on, under each other.
Tensor workspace(std::int64_t blocks, std::int64_t n, Place place) {
    return Tensor::empty({blocks_at_once(blocks, n, place) * n, n}, DType::f32, place);
}

// Calls work(first block, number of blocks) for all.
template <typename Work>
void in_pieces(std::int64_t blocks, std::int64_t n, Place place, Work&& work) {
    const std::int64_t most = blocks_at_once(blocks, n, place);
    for (std::int64_t begin = 0; begin < blocks; begin += most) work(begin, std::min(most, blocks - begin));
}

// Matrix `which` of a row of them.
Tensor part(const MatrixRow& row, std::int64_t which) {
    const std::int64_t begin = which * row.step;
    return row.across ? row.all.column_range(begin, begin + row.step) : row.all.row_range(begin, begin + row.step);
}

// Each of `count` products c = [c +] op(a) op(b), op transposing when asked.
void products(std::int64_t count, const MatrixRow& c, const MatrixRow& a, bool transpose_a, const MatrixRow& b,
              bool transpose_b, bool accumulate) {
    const Place place = c.all.place();
    if (!place.on_device()) {
        for (std::int64_t which = 0; which < count; ++which) {
            Tensor to = part(c, which);
            product(to, part(a, which), transpose_a, part(b, which), transpose_b, accumulate);
        }
        return;
    }
    on(place, [&](auto here) {
        if constexpr (std::is_same_v<decltype(here), Cuda>)
            block_products(here, count, c, a, transpose_a, b, transpose_b, accumulate);
    });
}

// Matrices (n, n) under each other.
MatrixRow stacked(const Tensor& all) { return {all, all.columns(), false}; }
// (N, n) beside each other.
MatrixRow beside(const Tensor& all, std::int64_t n) { return {all, n, true}; }

// Each block of out += a b, op transposing when asked.
void add_products(Tensor& out, const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b) {
    products(out.rows() / out.columns(), stacked(out), stacked(a), transpose_a, stacked(b), transpose_b, true);
}

// Each block of out = factor I
void set_identity(Cpu, Tensor& out, float factor) {
    const std::int64_t n = out.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < out.rows(); ++row) {
        auto* to = out.data<float>() + row * n;
        std::fill_n(to, n, 0.0f);
        to[row % n] = factor;
    }
}

// out = factor · in
void set_scaled(Cpu, Tensor& out, const Tensor& in, float factor) {
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < out.elements(); ++i) out.data<float>()[i] = factor * in.data<float>()[i];
}

// Q of the rows of `upper` that are given.
void set_skew(Cpu, Tensor& out, const Tensor& upper) {
    const std::int64_t n = out.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < upper.rows(); ++block) {
        const auto* from = upper.data<float>() + block * upper.columns();
        auto* to = out.data<float>() + block * n * n;
        for (std::int64_t i = 0; i < n; ++i) {
            to[i * n + i] = 0;
            for (std::int64_t j = i + 1; j < n; ++j) {
                to[i * n + j] = *from;
                to[j * n + i] = -*from++;
            }
        }
    }
}

// By Horner's rule R = H_0, where H_degree = f I, H_k = f_k I + Q H_(k+1).
void make_rotations(const Tensor& upper, std::int64_t n, Tensor& q, Tensor& last, Tensor& out) {
    in_pieces(upper.rows(), n, out.place(), [&](std::int64_t begin, std::int64_t count) {
        Tensor all_q = q.row_range(0, count * n), before = last.row_range(0, count * n);
        Tensor now = out.row_range(begin * n, (begin + count) * n);
        on(out.place(), [&](auto here) {
            set_skew(here, all_q, upper.row_range(begin, begin + count));
            set_identity(here, now, factors[degree]);
        });
        for (std::size_t k = degree; k-- > 0;) {
            copy(now, before);
            on(out.place(), [&](auto here) { set_identity(here, now, factors[k]); });
            add_products(now, all_q, false, before, false);
        }
    });
}

// The elements above the diagonal += those of change − changeᵀ
void add_skew(Cpu, const Tensor& change, Tensor& upper) {
    const std::int64_t n = change.columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < upper.rows(); ++block) {
        const auto* from = change.data<float>() + block * n * n;
        auto* to = upper.data<float>() + block * upper.columns();
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = i + 1; j < n; ++j) *to++ += from[i * n + j] - from[j * n + i];
    }
}

// gradient (as upper) += what `change` C (as the rotations) comes to for the elements above the diagonal. That of Q is
// Σ P^k A_(k+1), k < degree, by Horner's rule once more, where P = Qᵀ, A_degree = f C and A_k = f_k C + A_(k+1) P.
void add_upper_gradient(const Tensor& upper, const Tensor& change, std::int64_t n, std::array<Tensor, 4>& spaces,
                        Tensor& gradient) {
    const Place place = gradient.place();
    in_pieces(upper.rows(), n, place, [&](std::int64_t begin, std::int64_t count) {
        const auto piece = [&](std::size_t i) { return spaces[i].row_range(0, count * n); };
        Tensor q = piece(0), a = piece(1), sum = piece(2), next = piece(3);
        const Tensor c = change.row_range(begin * n, (begin + count) * n);
        on(place, [&](auto here) {
            set_skew(here, q, upper.row_range(begin, begin + count));
            set_scaled(here, a, c, factors[degree]);
        });
        copy(a, sum);
        for (std::size_t k = degree; k-- > 1;) {
            on(place, [&](auto here) { set_scaled(here, next, c, factors[k]); });
            add_products(next, a, false, q, true);
            std::swap(a, next);
            copy(a, next);
            add_products(next, q, true, sum, false);
            std::swap(sum, next);
        }
        Tensor to = gradient.row_range(begin, begin + count);
        on(place, [&](auto here) { add_skew(here, sum, to); });
    });
}

// y = x times the rotations, or their transposes; all f32
void rotate(const Tensor& x, const Tensor& rotations, bool transpose, Tensor& y) {
    const std::int64_t n = rotations.columns();
    products(x.columns() / n, beside(y, n), beside(x, n), false, stacked(rotations), transpose, false);
}

}   // namespace

Tensor block_rotations(Parameter& upper, std::int64_t block) {
    const Place place = upper.value.place();
    Tensor out = Tensor::empty({upper.shape.rows() * block, block}, DType::f32, place);
    const PurposeScope purpose(Purpose::workspace);
    const Tensor values = converted(upper.value, DType::f32);
    Tensor q = workspace(upper.shape.rows(), block, place), last = workspace(upper.shape.rows(), block, place);
    make_rotations(values, block, q, last, out);
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
        rotate(exact, rotations, false, turned);
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
                      const Tensor values = converted(upper.value, DType::f32);
                      std::array<Tensor, 4> spaces;
                      for (Tensor& space : spaces) space = workspace(upper.shape.rows(), block, place);
                      products(upper.shape.rows(), stacked(change), beside(input, block), true, beside(exact, block),
                               false, false);
                      add_upper_gradient(values, change, block, spaces, upper.gradient);
                  }
                  if (!gradients.wants(x)) return;
                  const Tensor rotations = block_rotations(upper, block);
                  Tensor turned = Tensor::empty(x.shape(), DType::f32, place);
                  rotate(exact, rotations, true, turned);
                  gradients.add(x, converted(turned, x.dtype()));
              });
    return y;
}

}   // namespace trainer
