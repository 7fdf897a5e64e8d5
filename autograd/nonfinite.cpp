#include "autograd/nonfinite.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "autograd/cpu/rows.h"

namespace trainer {

namespace {

// In all formats a number whose exponent bits are all set is NaN or infinite.
template <typename Bits>
bool any_nonfinite(const std::byte* values, std::int64_t count, Bits exponent) {
    Bits found = 0;   // as wide as the values, so that the loop is vectorised
    for (std::int64_t i = 0; i < count; ++i) {
        Bits bits;
        std::memcpy(&bits, values + static_cast<std::size_t>(i) * sizeof bits, sizeof bits);
        found |= static_cast<Bits>((bits & exponent) == exponent);
    }
    return found != 0;
}

bool any_nonfinite(const std::byte* values, std::int64_t count, DType dtype) {
    if (dtype == DType::f32) return any_nonfinite<std::uint32_t>(values, count, 0x7f800000u);
    return any_nonfinite<std::uint16_t>(values, count, dtype == DType::f16 ? 0x7c00u : 0x7f80u);
}

float value_at(const std::byte* row, std::int64_t column, DType dtype) {
    if (dtype == DType::f32) return reinterpret_cast<const float*>(row)[column];
    return dtype == DType::f16 ? static_cast<float>(reinterpret_cast<const f16*>(row)[column])
                               : static_cast<float>(reinterpret_cast<const bf16*>(row)[column]);
}

NonFinite first_in_row(const std::byte* row, std::int64_t columns, DType dtype) {
    std::int64_t column = 0;
    while (column < columns && !any_nonfinite(row + static_cast<std::size_t>(column) * size_of(dtype), 1, dtype))
        ++column;
    return {0, column, value_at(row, column, dtype)};
}

}   // namespace

std::optional<NonFinite> first_nonfinite(const Tensor& x) {
    const bool floats = x.dtype() == DType::f32 || x.dtype() == DType::bf16 || x.dtype() == DType::f16;
    if (x.place().is_meta() || !floats) return std::nullopt;
    if (x.place().is_cuda()) return first_nonfinite(on_place(x, Place::cpu()));
    constexpr std::int64_t smallest_for_threads = 1 << 16;   // waking them costs more than to look at so few
    constexpr std::int64_t none = std::numeric_limits<std::int64_t>::max();
    const bool flat = x.shape().dimensions() == 1;
    const std::int64_t rows = flat ? 1 : x.rows();
    const std::int64_t columns = flat ? x.elements() : x.columns();
    std::int64_t first = none;
#pragma omp parallel for schedule(static) reduction(min : first) if (x.elements() > smallest_for_threads)
    for (std::int64_t row = 0; row < rows; ++row)
        if (first == none && any_nonfinite(row_of(x, row), columns, x.dtype())) first = row;
    if (first == none) return std::nullopt;
    NonFinite found = first_in_row(row_of(x, first), columns, x.dtype());
    return flat ? NonFinite{found.column, 0, found.value} : NonFinite{first, found.column, found.value};
}

}   // namespace trainer
