#include "autograd/tensor.h"

#include <algorithm>
#include <cstring>

#include "autograd/cpu/rows.h"
#include "autograd/cuda/copy.h"
#include "autograd/cuda/rows.h"
#include "autograd/cuda/runtime.h"
#include "configs/error.h"

namespace trainer {

namespace {

std::size_t pitch_of(const Tensor& tensor) {
    return static_cast<std::size_t>(tensor.stride()) * size_of(tensor.dtype());
}
std::size_t row_bytes_of(const Tensor& tensor) {
    return static_cast<std::size_t>(tensor.columns()) * size_of(tensor.dtype());
}

// Between the host and the device.
void copy_across(const Tensor& in, Tensor& out) {
    check(in.dtype() == out.dtype(), "copy: {} to {} of another place", name_of(in.dtype()), name_of(out.dtype()));
    const auto direction = out.place().is_cuda() ? cuda::Direction::to_device : cuda::Direction::to_host;
    cuda::copy_rows(direction, out.raw(), pitch_of(out), in.raw(), pitch_of(in), row_bytes_of(in),
                    static_cast<std::size_t>(in.rows()));
}

// Large memory is new to the process more often than not, and had by many threads at once.
void clear(std::byte* memory, std::size_t bytes) {
    constexpr std::size_t piece = 4 << 20;
#pragma omp parallel for schedule(static) if (bytes > piece)
    for (std::size_t begin = 0; begin < bytes; begin += piece)
        std::memset(memory + begin, 0, std::min(piece, bytes - begin));
}

}   // namespace

std::string Shape::text() const {
    return dimensions_ == 1 ? format("({})", sizes_[0]) : format("({}, {})", sizes_[0], sizes_[1]);
}

std::vector<std::int64_t> Shape::sizes() const { return {sizes_, sizes_ + dimensions_}; }

Tensor Tensor::empty(Shape shape, DType dtype, Place place) {
    Tensor out;
    out.shape_ = shape;
    out.dtype_ = dtype;
    out.stride_ = shape.columns();
    out.storage_ = std::make_shared<Storage>(out.bytes(), place);
    return out;
}

Tensor Tensor::zeros(Shape shape, DType dtype, Place place) {
    Tensor out = empty(shape, dtype, place);
    if (place.is_cuda())
        cuda::fill(out.raw(), 0, out.bytes());
    else if (place.is_cpu())
        clear(static_cast<std::byte*>(out.raw()), out.bytes());
    return out;
}

void* Tensor::raw() const {
    check(defined(), "tensor: undefined");
    auto* bytes = static_cast<std::byte*>(storage_->data());
    return bytes ? bytes + static_cast<std::size_t>(offset_) * size_of(dtype_) : nullptr;
}

Tensor Tensor::row_range(std::int64_t begin, std::int64_t end) const {
    check(0 <= begin && begin <= end && end <= rows(), "tensor: rows {} to {} of {}", begin, end, shape_.text());
    Tensor view = detached();
    view.offset_ += begin * stride_;
    view.shape_ = shape_.dimensions() == 1 ? Shape(end - begin) : Shape(end - begin, columns());
    return view;
}

Tensor Tensor::column_range(std::int64_t begin, std::int64_t end) const {
    check(shape_.dimensions() == 2 && 0 <= begin && begin <= end && end <= columns(), "tensor: columns {} to {} of {}",
          begin, end, shape_.text());
    Tensor view = detached();
    view.offset_ += begin;
    view.shape_ = Shape(rows(), end - begin);
    return view;
}

Tensor Tensor::reshaped(Shape shape) const {
    check(contiguous() && shape.elements() == elements(), "tensor: {} cannot become {}", shape_.text(), shape.text());
    Tensor view = detached();
    view.shape_ = shape;
    view.stride_ = shape.columns();
    return view;
}

void Tensor::give_memory_back() const {
    check(bytes() == storage_->bytes(), "tensor: {} is a part of its storage", shape_.text());
    storage_->give_memory_back();
}

void Tensor::take_memory(Tensor other) const {
    check(other.sole_owner() && other.bytes() == other.storage_->bytes() && other.shape_ == shape_ &&
              other.dtype_ == dtype_,
          "tensor: {} cannot take the memory of {}", shape_.text(), other.shape_.text());
    storage_->take_memory(*other.storage_);
}

Tensor Tensor::detached() const {
    Tensor out = *this;
    out.slot_ = -1;
    return out;
}

Tensor Tensor::without_value() const {
    Tensor out = *this;
    out.storage_ = nullptr;
    return out;
}

void Tensor::require_dtype(DType dtype) const {
    check(dtype_ == dtype, "tensor: holds {}, asked for as {}", name_of(dtype_), name_of(dtype));
}

void Tensor::fill_from(const void* values, std::size_t count) {
    check(count == static_cast<std::size_t>(elements()), "tensor: {} values for shape {}", count, shape_.text());
    if (count > 0) std::memcpy(raw(), values, bytes());
}

void Tensor::copy_to(void* out) const {
    const std::size_t row_bytes = row_bytes_of(*this);
    const auto* in = static_cast<const std::byte*>(raw());
    if (place().is_cuda()) {
        cuda::copy_rows(cuda::Direction::to_host, out, row_bytes, in, pitch_of(*this), row_bytes,
                        static_cast<std::size_t>(rows()));
        return;
    }
    for (std::int64_t row = 0; row < rows(); ++row)
        std::memcpy(static_cast<std::byte*>(out) + static_cast<std::size_t>(row) * row_bytes,
                    in + static_cast<std::size_t>(row * stride_) * size_of(dtype_), row_bytes);
}

void require_computable(const char* op, const Tensor& x) {
    const DType dtype = x.dtype();
    check(dtype == DType::f32 || dtype == DType::bf16 || (dtype == DType::f16 && x.place().on_device()),
          "{}: {} is not supported", op, name_of(dtype));
}

Tensor scalar(double value, Place place) {
    Tensor out = Tensor::empty(1, DType::f32, place);
    fill(out, static_cast<float>(value));
    return out;
}

void fill(Tensor& out, float value) {
    on(out.place(), [&](auto place) { fill_rows(place, out, value); });
}

double value_of(const Tensor& scalar) { return scalar.place().is_meta() ? 0 : scalar.to_vector<float>().at(0); }

Tensor on_place(const Tensor& in, Place place) {
    if (!in.defined() || in.place() == place) return in;
    Tensor out = Tensor::empty(in.shape(), in.dtype(), place);
    if (!place.is_meta()) copy(in, out);
    return out;
}

void copy(const Tensor& in, Tensor& out) {
    check(in.shape() == out.shape(), "copy: {} into {}", in.shape().text(), out.shape().text());
    if (out.place().is_meta()) return;
    if (in.place() != out.place())
        copy_across(in, out);
    else
        on(out.place(), [&](auto place) { copy_rows(place, in, out); });
}

void round_values(Tensor& values, DType dtype) {
    if (dtype == DType::f32) return;
    if (values.place().is_cuda()) {
        Tensor here = on_place(values, Place::cpu());
        round_values(here, dtype);
        copy(here, values);
        return;
    }
    if (values.place().is_meta()) return;
    on(values.place(), [&](Cpu) {
        check(values.contiguous(), "round: rows are {} apart", values.stride());
        auto* value = values.data<float>();
#pragma omp parallel for schedule(static)
        for (std::int64_t i = 0; i < values.elements(); ++i) value[i] = rounded_to(dtype, value[i]);
    });
}

Tensor owned(Tensor x) {
    if (x.sole_owner()) return x;
    Tensor own = Tensor::empty(x.shape(), x.dtype(), x.place());
    copy(x, own);
    return own;
}

Tensor converted(const Tensor& in, DType dtype) {
    if (in.dtype() == dtype) return in;
    Tensor out = Tensor::empty(in.shape(), dtype, in.place());
    copy(in, out);
    return out;
}

}   // namespace trainer
