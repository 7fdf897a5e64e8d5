#include "autograd/quant/block_matrix.h"

#include <algorithm>
#include <array>

#include "autograd/quant/unpack_kernels.h"
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

void BlockMatrix::encode(const Tensor&) { fail(Exit::internal, "{} is read from files only", format()); }

void BlockMatrix::unpack_row(Cpu, std::int64_t row, std::int64_t column, std::int64_t count, DType target,
                             void* out) const {
    const std::int64_t block = block_elements(format_);
    const auto* in = reinterpret_cast<const std::byte*>(blocks_.data<std::uint8_t>()) + row * row_bytes();
    const auto& decode = TRAINER_PICK(decode_block_run);
    std::array<float, run_elements> values;
    auto* bytes = static_cast<std::byte*>(out);
    for (std::int64_t at = column; at < column + count;) {
        const std::int64_t begin = at / block * block;   // a run is whole blocks of it
        const std::int64_t last = (column + count + block - 1) / block * block;
        const std::int64_t decoded = std::min(last - begin, run_elements);
        const std::int64_t part = std::min(column + count, begin + decoded) - at;
        decode(format_, in + begin / block * block_bytes(format_), decoded, values.data());
        store_run(values.data() + (at - begin), part, target, bytes);
        at += part;
        bytes += static_cast<std::size_t>(part) * size_of(target);
    }
}

}   // namespace trainer
