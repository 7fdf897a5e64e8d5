#include "autograd/quant/int8_rows.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/nonfinite.h"
#include "autograd/quant/unpack_kernels.h"
#include "configs/error.h"

namespace trainer {

namespace {

template <typename Element>
void encode_row(const Element* values, std::int64_t count, std::int8_t* codes, float& absmax) {
    const auto half = [](Element value) { return rounded_to(DType::f16, static_cast<float>(value)); };
    absmax = 0;
    for (std::int64_t i = 0; i < count; ++i) absmax = std::max(absmax, std::abs(half(values[i])));
    const float scale = absmax > 0 ? 1.0f / absmax * 127.0f : 0.0f;   // two roundings, as the reference has them
    for (std::int64_t i = 0; i < count; ++i)                          // to nearest even
        codes[i] = static_cast<std::int8_t>(std::nearbyint(half(values[i]) * scale));
}

}   // namespace

void Int8Matrix::prepare(Place place) {
    const PurposeScope purpose(Purpose::weights);
    codes_ = Tensor::empty(shape().elements(), DType::u8, place);
    absmax_ = Tensor::empty(shape().rows(), DType::f32, place);
}

bool Int8Matrix::can_pack(const Tensor& values) const {
    Tensor halves = owned(converted(values, DType::f32));
    round_values(halves, DType::f16);
    return !first_nonfinite(halves);
}

void Int8Matrix::encode(const Tensor& values) {
    const std::int64_t columns = shape().columns();
    auto* codes = reinterpret_cast<std::int8_t*>(codes_.raw());
    auto* absmax = absmax_.data<float>();
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < shape().rows(); ++row)
        if (values.dtype() == DType::f32)
            encode_row(values.data<float>() + row * columns, columns, codes + row * columns, absmax[row]);
        else
            encode_row(values.data<bf16>() + row * columns, columns, codes + row * columns, absmax[row]);
}

void Int8Matrix::unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                            void* out) const {
    const auto* codes = reinterpret_cast<const std::int8_t*>(codes_.raw()) + row * shape().columns() + column;
    const float absmax = absmax_.data<float>()[row];
    const auto& decode = TRAINER_PICK(decode_int8);
    std::array<float, run_elements> values;
    auto* bytes = static_cast<std::byte*>(out);
    for (std::int64_t at = 0; at < count; at += run_elements) {
        const std::int64_t run = std::min(run_elements, count - at);
        decode(codes + at, run, absmax, values.data());
        store_run(values.data(), run, target, bytes + static_cast<std::size_t>(at) * size_of(target));
    }
}

}   // namespace trainer
