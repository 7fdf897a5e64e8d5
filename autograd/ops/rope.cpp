#include "autograd/ops/rope.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/cpu/rope_kernels.h"
#include "autograd/cpu/rows.h"
#include "autograd/ops/rope_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::int64_t;

// The cosine of an f32 angle is taken in double and rounded once.
void fill_table(const std::vector<float>& inverse_frequencies, float attention_scaling, RopeTable& table) {
    const int64_t half = table.cosine.columns();
#pragma omp parallel for schedule(static)
    for (int64_t position = 0; position < table.cosine.rows(); ++position)
        for (int64_t j = 0; j < half; ++j) {
            const float angle = static_cast<float>(position) * inverse_frequencies[static_cast<std::size_t>(j)];
            const int64_t at = position * half + j;
            table.cosine.data<float>()[at] =
                static_cast<float>(std::cos(static_cast<double>(angle))) * attention_scaling;
            table.sine.data<float>()[at] = static_cast<float>(std::sin(static_cast<double>(angle))) * attention_scaling;
        }
}

void rope_rows(Cpu, Tensor& x, const RopeTable& table, const Tensor& positions, int heads, int head_dim, bool inverse) {
    const auto* position = positions.data<std::int32_t>();
    if (x.rows() > 0) {
        const auto [least, most] = std::minmax_element(position, position + x.rows());
        check(*least >= 0 && *most < table.cosine.rows(), "rope: positions {} to {} in a table of {}", *least, *most,
              table.cosine.rows());
    }
    const auto& kernel = TRAINER_PICK(rope_row);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < x.rows(); ++n)
        kernel(row_of(x, n), x.dtype(), heads, head_dim, table.cosine.data<float>() + position[n] * head_dim / 2,
               table.sine.data<float>() + position[n] * head_dim / 2, inverse);
}

}   // namespace

RopeTable make_rope_table(const std::vector<float>& inverse_frequencies, std::int64_t positions,
                          float attention_scaling, Place place) {
    const Shape shape(positions, static_cast<int64_t>(inverse_frequencies.size()));
    if (place.is_meta()) return {Tensor::empty(shape, DType::f32, place), Tensor::empty(shape, DType::f32, place)};
    RopeTable table{Tensor::empty(shape, DType::f32), Tensor::empty(shape, DType::f32)};
    fill_table(inverse_frequencies, attention_scaling, table);
    return {on_place(table.cosine, place), on_place(table.sine, place)};
}

Tensor rope(Tensor x, const RopeTable& table, const Layout& layout, int heads, int head_dim) {
    check(head_dim > 0 && head_dim % 2 == 0 && table.cosine.columns() == head_dim / 2,
          "rope: head_dim {} with a table of {} columns", head_dim, table.cosine.columns());
    check(int64_t{heads} * head_dim <= x.columns(), "rope: {} heads of {} in {}", heads, head_dim, x.shape().text());
    require_computable("rope", x);
    check(layout.positions.elements() == x.rows(), "rope: {} positions for {} rows", layout.positions.elements(),
          x.rows());
    check(x.sole_owner(), "rope: x is shared, but is changed in place");
    Tensor y = x.detached();
    on(y.place(), [&](auto place) { rope_rows(place, y, table, layout.positions, heads, head_dim, false); });
    OpCall({"rope"}, {&x})
        .made({&y}, [x = x.without_value(), table, positions = layout.positions, heads, head_dim](
                        std::span<Tensor> dy, Gradients& gradients) {
            Tensor dx = owned(std::move(dy[0]));
            on(dx.place(), [&](auto place) { rope_rows(place, dx, table, positions, heads, head_dim, true); });
            gradients.add(x, std::move(dx));
        });
    return y;
}

}   // namespace trainer
