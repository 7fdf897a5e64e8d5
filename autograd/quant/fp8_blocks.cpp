#include "autograd/quant/fp8_blocks.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "autograd/quant/unpack_kernels.h"
#include "configs/error.h"

namespace trainer {

namespace {

constexpr float largest_code = 448.0f;

}   // namespace

std::uint8_t fp8_code(float value) {
    constexpr float smallest_normal = 0x1p-6f;
    const auto sign = static_cast<std::uint32_t>(std::signbit(value) ? 0x80 : 0);
    const float size = std::abs(value);
    if (size < smallest_normal)   // multiples of 2⁻⁹
        return static_cast<std::uint8_t>(sign | static_cast<std::uint32_t>(std::nearbyint(size * 0x1p9f)));
    const auto bits = std::bit_cast<std::uint32_t>(size);
    const std::uint32_t rounded = (bits + 0x7FFFFu + ((bits >> 20) & 1u)) >> 20;   // 3 of 23 bits stay
    constexpr std::uint32_t other_bias = (127 - 7) << 3;
    return static_cast<std::uint8_t>(sign | (rounded - other_bias));
}

Fp8Matrix::Fp8Matrix(Shape shape, DType dtype, const Fp8Block& block) : PackedMatrix(shape, dtype), block_(block) {
    check(block.rows > 0 && block.columns > 0, "fp8: blocks of ({}, {})", block.rows, block.columns);
}

std::string Fp8Matrix::layout() const {
    return format() + " " + std::to_string(block_.rows) + "x" + std::to_string(block_.columns);
}

void Fp8Matrix::prepare(Place place) {
    const PurposeScope purpose(Purpose::weights);
    codes_ = Tensor::empty(shape().elements(), DType::u8, place);
    scales_ = Tensor::empty(scale_rows() * scale_columns(), DType::f32, place);
}

void Fp8Matrix::encode(const Tensor& values) {
    const std::int64_t columns = shape().columns();
#pragma omp parallel for schedule(static)
    for (std::int64_t one = 0; one < scales_.elements(); ++one) {
        const std::int64_t row = one / scale_columns() * block_.rows;
        const std::int64_t column = one % scale_columns() * block_.columns;
        const std::int64_t row_end = std::min(row + block_.rows, shape().rows());
        const std::int64_t column_end = std::min(column + block_.columns, columns);
        float largest = 0;
        for (std::int64_t r = row; r < row_end; ++r)
            for (std::int64_t c = column; c < column_end; ++c)
                largest = std::max(largest, std::abs(value_at(values, r * columns + c)));
        // Two roundings, as the reference has them. The factor of a block of subnormal numbers would be infinite.
        const float scale =
            largest > 0 ? std::min(1.0f / largest * largest_code, std::numeric_limits<float>::max()) : 1.0f;
        scales_.data<float>()[one] = 1.0f / scale;
        for (std::int64_t r = row; r < row_end; ++r)
            for (std::int64_t c = column; c < column_end; ++c) {
                const float scaled = value_at(values, r * columns + c) * scale;
                codes_.data<std::uint8_t>()[r * columns + c] =
                    fp8_code(std::clamp(scaled, -largest_code, largest_code));
            }
    }
}

void Fp8Matrix::unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                           void* out) const {
    const std::uint8_t* codes = codes_.data<std::uint8_t>() + row * shape().columns();
    const float* scales = scales_.data<float>() + row / block_.rows * scale_columns();
    const auto& decode = TRAINER_PICK(decode_fp8);
    std::array<float, run_elements> values;
    auto* bytes = static_cast<std::byte*>(out);
    for (std::int64_t at = column; at < column + count;) {
        const std::int64_t end = std::min(column + count, (at / block_.columns + 1) * block_.columns);
        const std::int64_t run = std::min(end - at, run_elements);
        decode(codes + at, run, scales[at / block_.columns], values.data());
        store_run(values.data(), run, target, bytes);
        at += run;
        bytes += static_cast<std::size_t>(run) * size_of(target);
    }
}

}   // namespace trainer
