#include "autograd/quant/block_matrix.h"
#include "autograd/quant/panel_kernel.h"
#include "configs/error.h"

namespace trainer {

namespace {

using namespace cuda;

// The twins of unpack.simd.cpp, which says how the blocks are laid out: `values` gives those of `width` elements of a
// block from `j` on, one rounding an operation. Blocks of an odd number of 16 bits lie at even addresses only.

__device__ float half_at(const std::uint8_t* in) { return half_to_float(word_at<std::uint16_t>(in)); }
__device__ float scaled_sum(float scale, int code, float minimum) {
    return __fadd_rn(__fmul_rn(scale, static_cast<float>(code)), minimum);
}

constexpr int half_block = 16;

struct Q8_0 {
    static constexpr int elements = 32, bytes = 34;
    template <int width>
    __device__ static void values(const std::uint8_t* in, int j, float* out) {
        const float scale = half_at(in);
        const std::uint64_t codes = bytes_at<width, 2>(in + 2 + j);
        for (int i = 0; i < width; ++i)
            out[i] = static_cast<float>(static_cast<std::int8_t>(byte_of(codes, i))) * scale;
    }
};

// Codes of 4 bits, or of 5 whose fifth bits are the word before them.
template <int header, bool has_minimum, bool has_fifth>
struct Halves {
    static constexpr int elements = 32, bytes = header + half_block;
    template <int width>
    __device__ static void values(const std::uint8_t* in, int j, float* out) {
        constexpr int alignment = bytes % 4 == 0 ? 4 : 2;
        constexpr int middle = has_fifth ? 16 : 8;
        const float scale = half_at(in);
        const float minimum = has_minimum ? half_at(in + 2) : 0;
        const auto fifth = has_fifth ? static_cast<std::uint32_t>(bytes_at<4, alignment>(in + header - 4)) >> j : 0u;
        const std::uint64_t pairs = bytes_at<width, alignment>(in + header + j % half_block);
        const int shift = j < half_block ? 0 : 4;
        for (int i = 0; i < width; ++i) {
            const int code = (byte_of(pairs, i) >> shift & 15) | static_cast<int>(fifth >> i & 1u) << 4;
            out[i] = has_minimum ? scaled_sum(scale, code, minimum) : scale * static_cast<float>(code - middle);
        }
    }
};

// Codes of 4 bits, or of 5 whose fifth bits are the 32 bytes before them, in 8 sub-blocks with scales of 6 bits.
template <bool has_fifth>
struct SubBlocks {
    static constexpr int elements = 256, bytes = has_fifth ? 176 : 144;
    template <int width>
    __device__ static void values(const std::uint8_t* in, int j, float* out) {
        const int s = j / 32, column = j % 32;
        const std::uint8_t* packed = in + 4;
        const int q = s < 4 ? packed[s] & 63 : (packed[s + 4] & 15) | (packed[s - 4] >> 6) << 4;
        const int m = s < 4 ? packed[s + 4] & 63 : (packed[s + 4] >> 4) | (packed[s] >> 6) << 4;
        const float scale = half_at(in) * static_cast<float>(q);
        const float minimum = half_at(in + 2) * static_cast<float>(m);
        const std::uint64_t fifth = has_fifth ? bytes_at<width, 8>(in + 16 + column) : 0;
        const std::uint64_t pairs = bytes_at<width, 8>(in + bytes - 128 + s / 2 * 32 + column);
        for (int i = 0; i < width; ++i) {
            const int code = (byte_of(pairs, i) >> (s % 2 * 4) & 15) | (byte_of(fifth, i) >> s & 1) << 4;
            out[i] = scaled_sum(scale, code, -minimum);
        }
    }
};

struct Q6_K {
    static constexpr int elements = 256, bytes = 210;
    template <int width>
    __device__ static void values(const std::uint8_t* in, int j, float* out) {
        const int half = j / 128, run = j % 128 / 32, column = j % 32;
        const auto group = static_cast<std::int8_t>(in[192 + half * 8 + run * 2 + column / 16]);
        const float scale = half_at(in + 208) * static_cast<float>(group);
        const std::uint64_t low = bytes_at<width, 2>(in + half * 64 + run % 2 * 32 + column);
        const std::uint64_t high = bytes_at<width, 2>(in + 128 + half * 32 + column);
        for (int i = 0; i < width; ++i) {
            const int code = (byte_of(low, i) >> (run < 2 ? 0 : 4) & 15) | (byte_of(high, i) >> (2 * run) & 3) << 4;
            out[i] = scale * static_cast<float>(code - 32);
        }
    }
};

template <typename Block>
struct Blocks {
    static constexpr std::size_t shared_bytes = 0;

    const std::uint8_t* blocks;
    std::int64_t row_bytes;

    __device__ void begin() const {}
    template <int width>
    __device__ void decode(std::int64_t row, std::int64_t column, float* out) const {
        const std::int64_t block = column / Block::elements;
        Block::template values<width>(blocks + row * row_bytes + block * Block::bytes,
                                      static_cast<int>(column % Block::elements), out);
    }
};

}   // namespace

void BlockMatrix::decode_panel(Cuda place, const Panel& panel) const {
    const auto unpack_as = [&]<typename Block>(Block) {
        check(Block::elements == block_elements(format_) && Block::bytes == block_bytes(format_), "{}: blocks of {}",
              format(), Block::bytes);
        launch_panel(place, Blocks<Block>{blocks_.data<std::uint8_t>(), row_bytes()}, true, dtype(), panel);
    };
    switch (format_) {
        case BlockFormat::q4_0:
            return unpack_as(Halves<2, false, false>{});
        case BlockFormat::q4_1:
            return unpack_as(Halves<4, true, false>{});
        case BlockFormat::q5_0:
            return unpack_as(Halves<6, false, true>{});
        case BlockFormat::q5_1:
            return unpack_as(Halves<8, true, true>{});
        case BlockFormat::q8_0:
            return unpack_as(Q8_0{});
        case BlockFormat::q4_k:
            return unpack_as(SubBlocks<false>{});
        case BlockFormat::q5_k:
            return unpack_as(SubBlocks<true>{});
        case BlockFormat::q6_k:
            return unpack_as(Q6_K{});
    }
}

}   // namespace trainer
