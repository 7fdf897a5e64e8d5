#include "autograd/cpu/rows.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "autograd/cpu/rows_kernels.h"
#include "configs/error.h"

namespace trainer {

namespace {

// Elements of a piece: small enough to share out, large enough to be worth a call.
constexpr std::int64_t piece_elements = 1 << 13;
constexpr std::int64_t parallel_elements = 1 << 15;

void check_shapes(const char* kernel, std::initializer_list<const Tensor*> tensors) {
    const Shape& shape = (*tensors.begin())->shape();
    for (const Tensor* tensor : tensors)
        check(tensor->shape() == shape, "{}: {} beside {}", kernel, tensor->shape().text(), shape.text());
}

void check_rows(const char* kernel, std::initializer_list<const Tensor*> tensors) {
    check_shapes(kernel, tensors);
    for (const Tensor* tensor : tensors) require_computable(kernel, *tensor);
}

// As convert_row of the instruction sets, for f16, which is not computed with here.
void convert_half(const void* in, DType in_type, void* out, std::int64_t count) {
    if (in_type == DType::f16)
        std::transform(static_cast<const f16*>(in), static_cast<const f16*>(in) + count, static_cast<float*>(out),
                       [](f16 value) { return static_cast<float>(value); });
    else
        std::transform(static_cast<const float*>(in), static_cast<const float*>(in) + count, static_cast<f16*>(out),
                       [](float value) { return f16(value); });
}

std::byte* at(const Tensor& tensor, std::int64_t row, std::int64_t column) {
    return row_of(tensor, row) + column * static_cast<std::int64_t>(size_of(tensor.dtype()));
}

// Calls work(row, column, count) for pieces that cover the tensors; when all are contiguous they are one row.
template <typename Work>
void for_pieces(std::initializer_list<const Tensor*> tensors, const Work& work) {
    const Tensor& first = **tensors.begin();
    const bool flat = std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) { return t->contiguous(); });
    const std::int64_t rows = flat ? 1 : first.rows();
    const std::int64_t columns = flat ? first.elements() : first.columns();
    const std::int64_t pieces = (columns + piece_elements - 1) / piece_elements;
#pragma omp parallel for schedule(static) if (first.elements() >= parallel_elements)
    for (std::int64_t piece = 0; piece < rows * pieces; ++piece) {
        const std::int64_t column = piece % pieces * piece_elements;
        work(piece / pieces, column, std::min(piece_elements, columns - column));
    }
}

}   // namespace

std::byte* row_of(const Tensor& tensor, std::int64_t row) {
    return static_cast<std::byte*>(tensor.raw()) +
           row * tensor.stride() * static_cast<std::int64_t>(size_of(tensor.dtype()));
}

void copy_rows(Cpu, const Tensor& in, Tensor& out) {
    check_shapes("copy_rows", {&in, &out});
    const DType from = in.dtype(), to = out.dtype();
    const bool same = from == to, halves = from == DType::f16 || to == DType::f16;
    const auto is_float = [](DType dtype) {
        return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
    };
    check(same || (is_float(from) && is_float(to) && (from == DType::f32 || to == DType::f32)),
          "copy_rows: {} into {} is not supported", name_of(from), name_of(to));
    const auto& convert = halves ? convert_half : TRAINER_PICK(convert_row);
    for_pieces({&in, &out}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        if (same)
            std::memcpy(at(out, row, column), at(in, row, column), static_cast<std::size_t>(count) * size_of(from));
        else
            convert(at(in, row, column), from, at(out, row, column), count);
    });
}

void add_rows(Cpu, Tensor& sum, const Tensor& term) {
    check_rows("add_rows", {&sum, &term});
    const auto& kernel = TRAINER_PICK(add_row);
    for_pieces({&sum, &term}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        kernel(at(sum, row, column), sum.dtype(), at(term, row, column), term.dtype(), count);
    });
}

void fill_rows(Cpu, Tensor& out, float value) {
    out.data<float>();   // f32 only
    for_pieces({&out}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        std::fill_n(reinterpret_cast<float*>(at(out, row, column)), count, value);
    });
}

void scale_rows(Cpu, Tensor& values, float factor) {
    check_rows("scale_rows", {&values});
    const auto& kernel = TRAINER_PICK(scale_row);
    for_pieces({&values}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        kernel(at(values, row, column), values.dtype(), factor, count);
    });
}

void scale_rows(Cpu cpu, Tensor& values, const Tensor& factor) { scale_rows(cpu, values, *factor.data<float>()); }

void sum_rows(Cpu, const Tensor& a, const Tensor& b, Tensor& out) {
    check_rows("sum_rows", {&a, &b, &out});
    check(a.dtype() == out.dtype() && b.dtype() == out.dtype(), "sum_rows: {} and {} into {}", name_of(a.dtype()),
          name_of(b.dtype()), name_of(out.dtype()));
    const auto& kernel = TRAINER_PICK(sum_row);
    for_pieces({&a, &b, &out}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        kernel(at(a, row, column), at(b, row, column), at(out, row, column), out.dtype(), count);
    });
}

}   // namespace trainer
