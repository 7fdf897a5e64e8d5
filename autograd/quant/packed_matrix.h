#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace trainer {

// A part of a compressed matrix that is unpacked: out (R, C) f32 or bf16 = the columns from `column` on of rows from
// `row` on, or of those that `ids` (R) i32 names, which are where the matrix is; a negative id leaves its row as it is.
struct Panel {
    Tensor& out;
    std::int64_t column = 0;
    std::int64_t row = 0;
    Tensor ids = {};
};

// A frozen matrix in a compressed format: codes in blocks that share scales. It has no dense copy: products ask for the
// part that they are about to use (autograd/quant/packed_weight.h).
class PackedMatrix {
public:
    // `dtype` (f32, bf16, f16): what the matrix held before it was compressed; unpacked values are rounded to it.
    PackedMatrix(Shape shape, DType dtype) : shape_(shape), dtype_(dtype) {}
    virtual ~PackedMatrix() = default;
    PackedMatrix(const PackedMatrix&) = delete;
    PackedMatrix& operator=(const PackedMatrix&) = delete;

    const Shape& shape() const { return shape_; }
    DType dtype() const { return dtype_; }
    virtual std::string format() const = 0;   // "nf4", "Q4_1"
    // The format and what can be chosen of it, "nf4 64": matrices of one shape and layout hold the same codes and
    // scales.
    virtual std::string layout() const { return format(); }

    // Allocates; before it the matrix has a shape only.
    virtual void prepare(Place place) = 0;
    virtual Place place() const = 0;
    virtual std::size_t bytes() const = 0;

    // Whether no finite value is too large for the format.
    virtual bool can_pack(const Tensor&) const { return true; }
    // Compresses finite values of this shape, f32 or bf16, that can be packed; they are on the host, wherever the
    // matrix is. Error(internal) for a format that is only read.
    void pack(const Tensor& values);
    // Has `write` fill all that files hold, which is on the host meanwhile, wherever the matrix is: what it throws
    // leaves the matrix without a value. Does nothing on meta.
    void set(const std::function<void()>& write);

    // out (R, C) f32 or bf16 = the elements of rows [row, row + R) and columns [column, column + C).
    void unpack(std::int64_t row, std::int64_t column, Tensor& out) const;
    // Row n of out (N, columns) = row ids[n]; ids (N) i32 as in Panel.
    void unpack_rows(const Tensor& ids, Tensor& out) const;
    // `count` elements of one row, on the calling thread.
    virtual void unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                            void* out) const = 0;

protected:
    // Most elements that are decoded to f32 before they are stored.
    static constexpr std::int64_t run_elements = 256;
    // out = the values, which are changed: rounded to dtype(), then in `target`.
    void store_run(float* values, std::int64_t count, DType target, void* out) const;

    // Its memory.
    virtual std::vector<Tensor*> parts() = 0;
    virtual void encode(const Tensor& values) = 0;   // pack, of a matrix on the host
    // The panel lies in the matrix. Formats hand it to `decode_panel`, of which they have one for a GPU.
    virtual void unpack_panel(const Panel& panel) const = 0;
    void decode_panel(Cpu, const Panel& panel) const;

private:
    Shape shape_;
    DType dtype_;
};

// Element i, in f32, of contiguous values in f32 or bf16.
inline float value_at(const Tensor& values, std::int64_t i) {
    return values.dtype() == DType::f32 ? values.data<float>()[i] : static_cast<float>(values.data<bf16>()[i]);
}

}   // namespace trainer
