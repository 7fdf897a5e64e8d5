#include "autograd/ops/replaced_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "autograd/cpu/rows.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/replaced_rows_cuda.h"
#include "autograd/tape.h"
#include "configs/error.h"

namespace trainer {

namespace {

// found (N) i32 = which of the replaced rows stands in for each id, −1 for none.
void find_replaced(Cpu, const Tensor& ids, const std::vector<std::int32_t>& replaced, Tensor& found) {
    std::vector<std::pair<std::int32_t, std::int32_t>> order;   // id and its place
    for (const std::int32_t id : replaced) order.emplace_back(id, static_cast<std::int32_t>(order.size()));
    std::sort(order.begin(), order.end());
    const auto* id = ids.data<std::int32_t>();
    auto* to = found.data<std::int32_t>();
    for (std::int64_t n = 0; n < ids.elements(); ++n) {
        const auto at = std::lower_bound(order.begin(), order.end(), std::pair(id[n], std::int32_t{0}));
        to[n] = at != order.end() && at->first == id[n] ? at->second : -1;
    }
}

// Row n of y = row found[n] of rows; one dtype. Rows that found none stay.
void copy_found(Cpu, const Tensor& found, const Tensor& rows, Tensor& y) {
    const auto* from = found.data<std::int32_t>();
    const std::size_t bytes = static_cast<std::size_t>(y.columns()) * size_of(y.dtype());
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < y.rows(); ++n)
        if (from[n] >= 0) std::memcpy(row_of(y, n), row_of(rows, from[n]), bytes);
}

void clear_found(Cpu, const Tensor& found, Tensor& gradient) {
    const auto* from = found.data<std::int32_t>();
    const std::size_t bytes = static_cast<std::size_t>(gradient.columns()) * size_of(gradient.dtype());
    for (std::int64_t n = 0; n < gradient.rows(); ++n)
        if (from[n] >= 0) std::memset(row_of(gradient, n), 0, bytes);
}

}   // namespace

Tensor replace_rows(const Tensor& base, const Tensor& ids, const ReplacedRows& replaced) {
    Parameter& rows = *replaced.rows;
    check(rows.shape.rows() == static_cast<std::int64_t>(replaced.ids.size()) && rows.shape.columns() == base.columns(),
          "replace_rows: {} with {} rows of {}", base.shape().text(), replaced.ids.size(), rows.shape.text());
    Tensor found = Tensor::empty(ids.shape(), DType::i32, ids.place());   // on the host
    on(found.place(), [&](Cpu cpu) { find_replaced(cpu, ids, replaced.ids, found); });
    const Tensor found_there = on_place(found, base.place());
    Tensor y = Tensor::empty(base.shape(), base.dtype(), base.place());
    copy(base, y);
    const Tensor& computed = rows.in(y.dtype());
    on(y.place(), [&](auto place) { copy_found(place, found_there, computed, y); });
    OpCall({"replace_rows", &rows}, {&base}, rows.trainable)
        .made({&y},
              [base = base.without_value(), found, found_there, &rows](std::span<Tensor> dy, Gradients& gradients) {
                  if (rows.trainable) {
                      if (!rows.gradient.defined()) rows.gradient = rows.zeroed_gradient(dy[0].place());
                      add_rows_by_id(found, dy[0], rows.gradient);
                  }
                  if (!gradients.wants(base)) return;
                  on(dy[0].place(), [&](auto place) { clear_found(place, found_there, dy[0]); });
                  gradients.add(base, std::move(dy[0]));
              });
    return y;
}

}   // namespace trainer
