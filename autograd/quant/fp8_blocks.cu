#include <bit>

#include "autograd/quant/fp8_blocks.h"
#include "autograd/quant/panel_kernel.h"

namespace trainer {

namespace {

using namespace cuda;

struct Fp8 {
    static constexpr std::size_t shared_bytes = 0;

    const std::uint8_t* codes;
    const float* scales;
    std::int64_t columns;
    std::int64_t scale_columns;
    Divisor block_rows;
    Divisor block_columns;

    __device__ void begin() const {}
    template <int width>
    __device__ void decode(std::int64_t row, std::int64_t column, float* out) const {
        constexpr float other_bias = 0x1p120f;   // 2^(127 − 7)
        const float scale = scales[block_rows.divide(row) * scale_columns + block_columns.divide(column)];
        const std::uint64_t bytes = bytes_at<width, 8>(codes + row * columns + column);
        for (int i = 0; i < width; ++i) {
            const auto code = static_cast<std::uint32_t>(byte_of(bytes, i)), size = code & 0x7Fu;
            const std::uint32_t nan = size == 0x7Fu ? 0x7FC00000u : 0u;
            const auto moved = std::bit_cast<float>(size << 20 | (code & 0x80u) << 24) * other_bias;
            out[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(moved) | nan) * scale;
        }
    }
};

}   // namespace

void Fp8Matrix::decode_panel(Cuda place, const Panel& panel) const {
    const Fp8 format{.codes = codes_.data<std::uint8_t>(),
                     .scales = scales_.data<float>(),
                     .columns = shape().columns(),
                     .scale_columns = scale_columns(),
                     .block_rows = Divisor(block_.rows),
                     .block_columns = Divisor(block_.columns)};
    const bool in_runs = shape().columns() % run_width == 0 && block_.columns % run_width == 0;
    launch_panel(place, format, in_runs, dtype(), panel);
}

}   // namespace trainer
