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

void check_rows(const char* kernel, std::initializer_list<const Tensor*> tensors, bool floats) {
    const Shape& shape = (*tensors.begin())->shape();
    for (const Tensor* tensor : tensors) {
        check(tensor->shape() == shape, "{}: {} beside {}", kernel, tensor->shape().text(), shape.text());
        check(!floats || tensor->dtype() == DType::f32 || tensor->dtype() == DType::bf16, "{}: {} is not supported",
              kernel, name_of(tensor->dtype()));
    }
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
    check_rows("copy_rows", {&in, &out}, in.dtype() != out.dtype());
    const bool same = in.dtype() == out.dtype();
    const auto& convert = TRAINER_PICK(convert_row);
    for_pieces({&in, &out}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        const void* from = at(in, row, column);
        void* to = at(out, row, column);
        if (same) {
            std::memcpy(to, from, static_cast<std::size_t>(count) * size_of(in.dtype()));
        } else {
            convert(from, in.dtype(), to, count);
        }
    });
}

void add_rows(Cpu, Tensor& sum, const Tensor& term) {
    check_rows("add_rows", {&sum, &term}, true);
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
    check_rows("scale_rows", {&values}, true);
    const auto& kernel = TRAINER_PICK(scale_row);
    for_pieces({&values}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        kernel(at(values, row, column), values.dtype(), factor, count);
    });
}

void scale_rows(Cpu cpu, Tensor& values, const Tensor& factor) { scale_rows(cpu, values, *factor.data<float>()); }

void sum_rows(Cpu, const Tensor& a, const Tensor& b, Tensor& out) {
    check_rows("sum_rows", {&a, &b, &out}, true);
    check(a.dtype() == out.dtype() && b.dtype() == out.dtype(), "sum_rows: {} and {} into {}", name_of(a.dtype()),
          name_of(b.dtype()), name_of(out.dtype()));
    const auto& kernel = TRAINER_PICK(sum_row);
    for_pieces({&a, &b, &out}, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
        kernel(at(a, row, column), at(b, row, column), at(out, row, column), out.dtype(), count);
    });
}

}   // namespace trainer
