#include "autograd/quant/int8_rows.h"
#include "autograd/quant/panel_kernel.h"

namespace trainer {

namespace {

using namespace cuda;

struct Int8 {
    static constexpr std::size_t shared_bytes = 0;

    const std::uint8_t* codes;
    const float* absmax;
    std::int64_t columns;

    __device__ void begin() const {}
    template <int width>
    __device__ void decode(std::int64_t row, std::int64_t column, float* out) const {
        constexpr float seventh_bit = 1.0f / 127.0f;
        const float scale = absmax[row];
        const std::uint64_t bytes = bytes_at<width, 8>(codes + row * columns + column);
        for (int i = 0; i < width; ++i)
            out[i] = static_cast<float>(static_cast<std::int8_t>(byte_of(bytes, i))) * scale * seventh_bit;
    }
};

}   // namespace

void Int8Matrix::decode_panel(Cuda place, const Panel& panel) const {
    const Int8 format{codes_.data<std::uint8_t>(), absmax_.data<float>(), shape().columns()};
    launch_panel(place, format, shape().columns() % run_width == 0, dtype(), panel);
}

}   // namespace trainer
