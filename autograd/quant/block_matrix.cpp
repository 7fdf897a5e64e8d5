#include "autograd/quant/block_matrix.h"

#include <algorithm>
#include <array>

#include "autograd/cpu/rows_kernels.h"
#include "configs/error.h"

namespace trainer {

BlockMatrix::BlockMatrix(Shape shape, DType dtype, BlockFormat format) : PackedMatrix(shape, dtype), format_(format) {
    check(shape.columns() % block_elements(format) == 0, "{}: {} is no whole number of blocks of {}", name_of(format),
          shape.text(), block_elements(format));
}

void BlockMatrix::prepare(Place place) {
    const PurposeScope purpose(Purpose::weights);
    blocks_ = Tensor::empty(shape().rows() * row_bytes(), DType::u8, place);
}

void BlockMatrix::pack(const Tensor&) { fail(Exit::internal, "{} is read from files only", format()); }

void BlockMatrix::unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                             void* out) const {
    constexpr std::int64_t most = 256;   // elements of the largest block
    const std::int64_t block = block_elements(format_);
    const auto* in = reinterpret_cast<const std::byte*>(blocks_.data<std::uint8_t>()) + row * row_bytes();
    const auto& convert = TRAINER_PICK(convert_row);
    std::array<float, most> values;
    auto* bytes = static_cast<std::byte*>(out);
    for (std::int64_t at = column; at < column + count;) {
        const std::int64_t begin = at / block * block;
        const std::int64_t part = std::min(column + count, begin + block) - at;
        decode_blocks(format_, in + begin / block * block_bytes(format_), block, values.data());
        if (dtype() != DType::f32 && dtype() != target)
            for (float& value : values) value = rounded_to(dtype(), value);
        const float* wanted = values.data() + (at - begin);
        if (target == DType::f32)
            std::copy_n(wanted, part, reinterpret_cast<float*>(bytes));
        else
            convert(wanted, DType::f32, bytes, part);
        at += part;
        bytes += static_cast<std::size_t>(part) * size_of(target);
    }
}

}   // namespace trainer
