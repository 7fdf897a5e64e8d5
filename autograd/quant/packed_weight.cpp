#include "autograd/quant/packed_weight.h"

#include <algorithm>

#include "autograd/cpu/gemm.h"
#include "autograd/cpu/rows.h"
#include "autograd/quant/dense.h"
#include "autograd/quant/packed_matrix.h"
#include "configs/error.h"

namespace trainer {

namespace {

// On a GPU 128 MiB of bf16, which hold each projection of a model of 8 billion parameters whole.
std::int64_t panel_elements(Place place) { return place.on_device() ? 64 << 20 : 2 << 20; }

// Rows or columns of a panel over lines of `length` elements, in whole blocks of the largest format.
std::int64_t panel_lines(std::int64_t length, Place place) {
    constexpr std::int64_t unit = 256;
    return std::max(unit, panel_elements(place) / length / unit * unit);
}

Tensor workspace(std::int64_t rows, std::int64_t columns, DType dtype, Place place) {
    const PurposeScope purpose(Purpose::workspace);
    return Tensor::empty({rows, columns}, dtype, place);
}

// Calls part(parameter, first row of it, first row of the range, rows) for what rows [begin, end) of the stack meet.
template <typename Part>
void each_part(const std::vector<Parameter*>& parameters, std::int64_t begin, std::int64_t end, Part&& part) {
    std::int64_t first = 0;
    for (Parameter* parameter : parameters) {
        const std::int64_t last = first + parameter->shape.rows();
        const std::int64_t from = std::max(begin, first), to = std::min(end, last);
        if (from < to) part(*parameter, from - first, from - begin, to - from);
        first = last;
    }
}

// Which of the rows [begin, end) an id means, -1 for none.
Tensor ids_within(const Tensor& ids, std::int64_t begin, std::int64_t end) {
    Tensor own = Tensor::empty(ids.shape(), DType::i32, ids.place());
    on(ids.place(), [&](Cpu) {
        const auto* id = ids.data<std::int32_t>();
        auto* to = own.data<std::int32_t>();
        for (std::int64_t n = 0; n < ids.elements(); ++n)
            to[n] = id[n] >= begin && id[n] < end ? id[n] - static_cast<std::int32_t>(begin) : -1;
    });
    return own;
}

}   // namespace

PackedWeight::PackedWeight(std::vector<Parameter*> parameters, DType compute, Place place)
    : parameters_(std::move(parameters)), place_(place) {
    check(!parameters_.empty(), "packed weight: no parameters");
    const PurposeScope purpose(Purpose::weights);
    for (Parameter* parameter : parameters_) {
        check(
            parameter->shape.dimensions() == 2 && parameter->shape.columns() == in_features() && !parameter->trainable,
            "packed weight: {} is {}{}, expected {} columns, frozen", parameter->name, parameter->shape.text(),
            parameter->trainable ? ", trainable" : "", in_features());
        if (parameter->packed)
            parameter->packed->prepare(place);
        else
            parameter->value = Tensor::empty(parameter->shape, compute, place);
        parameter->changed();
        rows_ += parameter->shape.rows();
    }
}

void PackedWeight::unpack(std::int64_t row, std::int64_t column, Tensor& out) const {
    each_part(parameters_, row, row + out.rows(),
              [&](const Parameter& parameter, std::int64_t first, std::int64_t at, std::int64_t count) {
                  Tensor part = out.row_range(at, at + count);
                  if (parameter.packed)
                      parameter.packed->unpack(first, column, part);
                  else
                      copy(parameter.value.row_range(first, first + count).column_range(column, column + out.columns()),
                           part);
              });
}

template <typename Part>
void PackedWeight::each_panel(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y, Part&& part) const {
    const std::int64_t most = panel_lines(in_features(), place_);
    for (std::int64_t row = begin; row < end; row += most) {
        const std::int64_t count = std::min(most, end - row);
        Tensor panel = workspace(count, in_features(), x.dtype(), place_);
        unpack(row, 0, panel);
        Tensor columns = y.column_range(row - begin, row - begin + count);
        part(columns, panel, row - begin);
    }
}

void PackedWeight::forward_rows(std::int64_t begin, std::int64_t end, const Tensor& x, Tensor& y,
                                bool accumulate) const {
    each_panel(begin, end, x, y, [&](Tensor& part, const Tensor& panel, std::int64_t) {
        product(part, x, false, panel, true, accumulate);
    });
}

bool PackedWeight::forward_with_bias(const Tensor& x, const Tensor& bias, Tensor& y) const {
    if (!place_.on_device()) return false;
    bool all = true;   // panels have whole blocks of 256 rows, so that the first one speaks for all but the last
    each_panel(0, rows_, x, y, [&](Tensor& part, const Tensor& panel, std::int64_t first) {
        all = all && product_with_bias(part, x, panel, bias.row_range(first, first + panel.rows()));
    });
    return all;
}

void PackedWeight::grad_input_rows(std::int64_t begin, std::int64_t end, const Tensor& dy, Tensor& dx,
                                   bool accumulate) const {
    const std::int64_t most = panel_lines(end - begin, place_);
    for (std::int64_t column = 0; column < in_features(); column += most) {
        const std::int64_t count = std::min(most, in_features() - column);
        Tensor panel = workspace(end - begin, count, dy.dtype(), place_);
        unpack(begin, column, panel);
        Tensor part = dx.column_range(column, column + count);
        product(part, dy, false, panel, false, accumulate);
    }
}

void PackedWeight::rows(const Tensor& ids, Tensor& y) const {
    check(y.rows() == ids.elements() && y.columns() == in_features(), "packed weight: rows of ({}, {}) for {} into {}",
          rows_, in_features(), ids.elements(), y.shape().text());
    on(ids.place(), [&](Cpu) {
        const auto* id = ids.data<std::int32_t>();
        for (std::int64_t n = 0; n < ids.elements(); ++n)
            check(id[n] >= 0 && id[n] < rows_, "packed weight: row {} of {}", id[n], rows_);
    });
    const PurposeScope purpose(Purpose::workspace);
    std::int64_t first = 0;
    for (const Parameter* parameter : parameters_) {
        const std::int64_t end = first + parameter->shape.rows();
        const Tensor own = on_place(parameters_.size() == 1 ? ids : ids_within(ids, first, end), place_);
        if (parameter->packed)
            parameter->packed->unpack_rows(own, y);
        else
            pick_rows(parameter->value, own, y);
        first = end;
    }
}

Tensor PackedWeight::dense(DType dtype) const {
    Tensor out = Tensor::empty({rows_, in_features()}, dtype, place_);
    unpack(0, 0, out);
    return out;
}

std::size_t PackedWeight::bytes() const {
    std::size_t sum = 0;
    for (const Parameter* parameter : parameters_)
        sum += parameter->packed ? parameter->packed->bytes() : parameter->value.bytes();
    return sum;
}

std::uint64_t PackedWeight::version() const {
    std::uint64_t sum = 0;   // each part only grows
    for (const Parameter* parameter : parameters_) sum += parameter->version();
    return sum;
}

std::unique_ptr<Weight> make_weight(const std::vector<Parameter*>& parameters, DType storage, DType compute,
                                    Place place) {
    const bool packed = std::any_of(parameters.begin(), parameters.end(),
                                    [](const Parameter* parameter) { return parameter->packed != nullptr; });
    if (packed) return std::make_unique<PackedWeight>(parameters, compute, place);
    return std::make_unique<DenseWeight>(parameters, storage, compute, place);
}

}   // namespace trainer
