#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/memory.h"
#include "autograd/place.h"

namespace trainer {

// Up to two dimensions: (rows, columns) or (elements). Activations are (N, C), N = tokens.
class Shape {
public:
    Shape() = default;
    Shape(std::int64_t elements) : sizes_{elements, 1}, dimensions_(1) {}
    Shape(std::int64_t rows, std::int64_t columns) : sizes_{rows, columns}, dimensions_(2) {}
    int dimensions() const { return dimensions_; }
    std::int64_t operator[](int dimension) const { return sizes_[dimension]; }
    std::int64_t rows() const { return sizes_[0]; }
    std::int64_t columns() const { return sizes_[1]; }   // 1 for one dimension
    std::int64_t elements() const { return sizes_[0] * sizes_[1]; }
    std::string text() const;   // "(4, 8)"
    std::vector<std::int64_t> sizes() const;
    friend bool operator==(const Shape&, const Shape&) = default;

private:
    std::int64_t sizes_[2] = {0, 1};
    int dimensions_ = 1;
};

template <typename Element>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
    return DType::f32;
}
template <>
constexpr DType dtype_of<bf16>() {
    return DType::bf16;
}
template <>
constexpr DType dtype_of<f16>() {
    return DType::f16;
}
template <>
constexpr DType dtype_of<std::int32_t>() {
    return DType::i32;
}
template <>
constexpr DType dtype_of<std::uint8_t>() {
    return DType::u8;
}
template <>
constexpr DType dtype_of<std::uint64_t>() {
    return DType::u64;
}

// Number of a tensor's gradient on the tape that records it; -1: no gradient is asked for.
using Slot = int;

// A value: shape, dtype, place, shared storage, offset and row stride (columns are contiguous), tape slot. Copying
// shares the storage. Tensors do not compute; ops (autograd/ops) are functions.
class Tensor {
public:
    Tensor() = default;   // undefined
    static Tensor empty(Shape shape, DType dtype, Place place = Place::cpu());
    static Tensor zeros(Shape shape, DType dtype, Place place = Place::cpu());
    template <typename Element>
    static Tensor from(std::span<const Element> values, Shape shape) {   // a copy, on the CPU
        Tensor out = empty(shape, dtype_of<Element>());
        out.fill_from(values.data(), values.size());
        return out;
    }

    bool defined() const { return storage_ != nullptr; }
    const Shape& shape() const { return shape_; }
    std::int64_t rows() const { return shape_.rows(); }
    std::int64_t columns() const { return shape_.columns(); }
    std::int64_t elements() const { return shape_.elements(); }
    DType dtype() const { return dtype_; }
    Place place() const { return storage_->place(); }
    std::int64_t stride() const { return stride_; }   // elements from one row to the next
    bool contiguous() const { return shape_.dimensions() == 1 || stride_ == shape_.columns() || rows() <= 1; }
    std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }

    void* raw() const;   // first element; null on meta
    template <typename Element>
    Element* data() const {
        require_dtype(dtype_of<Element>());
        return static_cast<Element*>(raw());
    }
    template <typename Element>
    std::vector<Element> to_vector() const {   // row by row
        require_dtype(dtype_of<Element>());
        std::vector<Element> out(static_cast<std::size_t>(elements()));
        copy_to(out.data());
        return out;
    }

    // Views share storage; they have no tape slot of their own.
    Tensor row_range(std::int64_t begin, std::int64_t end) const;
    Tensor column_range(std::int64_t begin, std::int64_t end) const;
    Tensor reshaped(Shape shape) const;   // contiguous tensors only

    // True when no other tensor shares the storage, so that it may be changed in place.
    bool sole_owner() const { return storage_.use_count() == 1; }

    // The memory, of all who share the storage, is given back; the value is lost until `take_memory` puts that of
    // `other`, of the same bytes, in its place. Only for tensors that fill their storage.
    void give_memory_back() const;
    void take_memory(Tensor other) const;

    Slot slot() const { return slot_; }
    void set_slot(Slot slot) { slot_ = slot; }
    Tensor detached() const;   // the same value without a slot
    // Shape, dtype and slot without the value (undefined): what a closure keeps of a tensor to whose gradient it only
    // adds, so that the tape does not hold its memory.
    Tensor without_value() const;

private:
    void require_dtype(DType dtype) const;
    void fill_from(const void* values, std::size_t count);   // CPU
    void copy_to(void* out) const;

    std::shared_ptr<Storage> storage_;
    std::int64_t offset_ = 0;   // elements
    std::int64_t stride_ = 1;
    Shape shape_;
    DType dtype_ = DType::f32;
    Slot slot_ = -1;
};

// One f32 number, the nearest to `value`.
Tensor scalar(double value, Place place);
// The number of such a tensor; waits for the device. 0 on meta.
double value_of(const Tensor& scalar);
// Error(internal) unless `op` can compute with numbers of x's type where it is: f32, bf16, on a device also f16.
void require_computable(const char* op, const Tensor& x);

// f32 elements become `value`.
void fill(Tensor& out, float value);

// `in` itself when it lives there already, else a copy; on meta only its shape.
Tensor on_place(const Tensor& in, Place place);

// out = in, converting between f32 and bf16 or f16 (to nearest even); shapes must agree, rows may be strided. Between
// the host and a device dtypes agree too. Not recorded.
void copy(const Tensor& in, Tensor& out);
// f32 values become the nearest ones that `dtype` holds.
void round_values(Tensor& values, DType dtype);
Tensor owned(Tensor x);   // `x` itself when nothing else shares its storage, else a copy: to be changed in place
Tensor converted(const Tensor& in, DType dtype);   // `in` itself when it has that dtype already

}   // namespace trainer
