#include "autograd/quant/four_bit.h"
#include "autograd/quant/panel_kernel.h"

namespace trainer {

namespace {

using namespace cuda;

struct FourBit {
    static constexpr std::size_t shared_bytes = 16 * sizeof(float);

    const std::uint8_t* codes;
    const float* absmax;                // null with double quantisation
    const std::uint8_t* nested_codes;   // null without
    const float* nested_absmax;
    float offset;
    std::int64_t columns;
    Divisor block;
    Divisor nested_block;
    std::array<float, 16> map;
    DynamicMap nested_map;

    __device__ void begin() const {
        float* values = shared_memory<float>();
        if (threadIdx.x < 16) values[threadIdx.x] = map.data()[threadIdx.x];
        __syncthreads();
    }
    __device__ float scale_of(std::int64_t at) const {
        const std::int64_t own = block.divide(at);
        if (absmax) return absmax[own];
        const float size = nested_map.data()[nested_codes[own]];
        return __fadd_rn(__fmul_rn(size, nested_absmax[nested_block.divide(own)]), offset);
    }
    template <int width>
    __device__ void decode(std::int64_t row, std::int64_t column, float* out) const {
        const float* values = shared_memory<float>();
        const std::int64_t at = row * columns + column;
        const float scale = scale_of(at);
        const std::uint64_t pairs = bytes_at<(width + 1) / 2, 4>(codes + at / 2);
        const int first = width == 1 ? static_cast<int>(at & 1) : 0;   // the high half of a byte is the first
        for (int i = 0; i < width; ++i) {
            const int shift = (i + first) % 2 == 0 ? 4 : 0;
            out[i] = values[byte_of(pairs, i / 2) >> shift & 15] * scale;
        }
    }
};

}   // namespace

void FourBitMatrix::decode_panel(Cuda place, const Panel& panel) const {
    const bool nested = options_.double_quant;
    const FourBit format{.codes = codes_.data<std::uint8_t>(),
                         .absmax = nested ? nullptr : absmax_.data<float>(),
                         .nested_codes = nested ? absmax_.data<std::uint8_t>() : nullptr,
                         .nested_absmax = nested ? nested_absmax_.data<float>() : nullptr,
                         .offset = offset_,
                         .columns = shape().columns(),
                         .block = Divisor(options_.block),
                         .nested_block = Divisor(options_.nested_block),
                         .map = map_,
                         .nested_map = nested_map_};
    const bool in_runs = shape().columns() % run_width == 0 && options_.block % run_width == 0;
    launch_panel(place, format, in_runs, dtype(), panel);
}

}   // namespace trainer
