// One rounding an operation, as the formats' own reference has it: no product is fused with a sum.
#pragma GCC optimize("fp-contract=off")

#include <bit>
#include <cstring>

#include "autograd/dtype.h"
#include "autograd/quant/unpack_kernels.h"

namespace trainer::TRAINER_ISA {

namespace {

float half_at(const std::byte* in) {
    std::uint16_t bits;
    std::memcpy(&bits, in, sizeof bits);
    return half_to_float(bits);
}

int byte_at(const std::byte* in, std::int64_t i) { return static_cast<int>(in[i]); }

constexpr std::int64_t block = 32;
constexpr std::int64_t half_block = block / 2;

// f16 scale, 32 × i8: scale · q
void decode_q8_0(const std::byte* in, float* out) {
    const float scale = half_at(in);
    for (std::int64_t j = 0; j < block; ++j) out[j] = static_cast<float>(static_cast<std::int8_t>(in[2 + j])) * scale;
}

// f16 scale, 16 bytes of two values each, the low halves first: scale · (q − 8)
void decode_q4_0(const std::byte* in, float* out) {
    const float scale = half_at(in);
    for (std::int64_t j = 0; j < half_block; ++j) {
        const int pair = byte_at(in, 2 + j);
        out[j] = scale * static_cast<float>((pair & 15) - 8);
        out[j + half_block] = scale * static_cast<float>((pair >> 4) - 8);
    }
}

// f16 scale, f16 minimum, 16 bytes as above: scale · q + minimum
void decode_q4_1(const std::byte* in, float* out) {
    const float scale = half_at(in);
    const float minimum = half_at(in + 2);
    for (std::int64_t j = 0; j < half_block; ++j) {
        const int pair = byte_at(in, 4 + j);
        out[j] = scale * static_cast<float>(pair & 15) + minimum;
        out[j + half_block] = scale * static_cast<float>(pair >> 4) + minimum;
    }
}

// The fifth bit of value j of a block is bit j of a little-endian word.
int fifth_bit(std::uint32_t bits, std::int64_t j) { return static_cast<int>(bits >> j & 1u) << 4; }

std::uint32_t word_at(const std::byte* in) {
    std::uint32_t word;
    std::memcpy(&word, in, sizeof word);
    return word;
}

// f16 scale, the fifth bits, 16 bytes as above: scale · (q − 16)
void decode_q5_0(const std::byte* in, float* out) {
    const float scale = half_at(in);
    const std::uint32_t high = word_at(in + 2);
    for (std::int64_t j = 0; j < half_block; ++j) {
        const int pair = byte_at(in, 6 + j);
        out[j] = scale * static_cast<float>(((pair & 15) | fifth_bit(high, j)) - 16);
        out[j + half_block] = scale * static_cast<float>(((pair >> 4) | fifth_bit(high, j + half_block)) - 16);
    }
}

// f16 scale, f16 minimum, the fifth bits, 16 bytes as above: scale · q + minimum
void decode_q5_1(const std::byte* in, float* out) {
    const float scale = half_at(in);
    const float minimum = half_at(in + 2);
    const std::uint32_t high = word_at(in + 4);
    for (std::int64_t j = 0; j < half_block; ++j) {
        const int pair = byte_at(in, 8 + j);
        out[j] = scale * static_cast<float>((pair & 15) | fifth_bit(high, j)) + minimum;
        out[j + half_block] = scale * static_cast<float>((pair >> 4) | fifth_bit(high, j + half_block)) + minimum;
    }
}

constexpr std::int64_t super_block = 256;

// 6-bit scale and minimum of sub-block s, of 8, packed into 12 bytes: the low six bits of the first four lie in the
// first eight bytes, whose upper two bits belong to the other four.
struct SubBlock {
    float scale;
    float minimum;
};
SubBlock sub_block(const std::byte* packed, std::int64_t s, float scale, float minimum) {
    int q = 0, m = 0;
    if (s < 4) {
        q = byte_at(packed, s) & 63;
        m = byte_at(packed, s + 4) & 63;
    } else {
        q = (byte_at(packed, s + 4) & 15) | (byte_at(packed, s - 4) >> 6) << 4;
        m = (byte_at(packed, s + 4) >> 4) | (byte_at(packed, s) >> 6) << 4;
    }
    return {scale * static_cast<float>(q), minimum * static_cast<float>(m)};
}

// f16 scale, f16 minimum, 12 bytes of scales and minima, 128 bytes: 32 bytes hold two sub-blocks of 32, the low halves
// the first: scale_s · q − minimum_s
void decode_q4_k(const std::byte* in, float* out) {
    const float scale = half_at(in), minimum = half_at(in + 2);
    const std::byte* codes = in + 16;
    for (std::int64_t pair = 0; pair < 4; ++pair, codes += block, out += 2 * block) {
        const SubBlock low = sub_block(in + 4, 2 * pair, scale, minimum);
        const SubBlock high = sub_block(in + 4, 2 * pair + 1, scale, minimum);
        for (std::int64_t j = 0; j < block; ++j) {
            out[j] = low.scale * static_cast<float>(byte_at(codes, j) & 15) - low.minimum;
            out[j + block] = high.scale * static_cast<float>(byte_at(codes, j) >> 4) - high.minimum;
        }
    }
}

// As Q4_K with 32 bytes of fifth bits before the codes: bit s of byte j belongs to value j of sub-block s.
void decode_q5_k(const std::byte* in, float* out) {
    const float scale = half_at(in), minimum = half_at(in + 2);
    const std::byte* fifth = in + 16;
    const std::byte* codes = in + 48;
    for (std::int64_t pair = 0; pair < 4; ++pair, codes += block, out += 2 * block) {
        const SubBlock low = sub_block(in + 4, 2 * pair, scale, minimum);
        const SubBlock high = sub_block(in + 4, 2 * pair + 1, scale, minimum);
        for (std::int64_t j = 0; j < block; ++j) {
            const int bits = byte_at(fifth, j) >> (2 * pair);
            out[j] = low.scale * static_cast<float>((byte_at(codes, j) & 15) | (bits & 1) << 4) - low.minimum;
            out[j + block] = high.scale * static_cast<float>((byte_at(codes, j) >> 4) | (bits & 2) << 3) - high.minimum;
        }
    }
}

// 128 bytes of low four bits, 64 bytes of high two bits, 16 × i8 scales of 16 values, f16 scale:
// (scale · scale_g) · (q − 32). Each half of the block is four runs of 32 values.
void decode_q6_k(const std::byte* in, float* out) {
    const float scale = half_at(in + 208);
    float scales[16];
    for (std::int64_t g = 0; g < 16; ++g) scales[g] = scale * static_cast<float>(static_cast<std::int8_t>(in[192 + g]));
    for (std::int64_t half = 0; half < 2; ++half) {
        const std::byte* low = in + half * 64;
        const std::byte* high = in + 128 + half * 32;
        for (std::int64_t run = 0; run < 4; ++run) {
            const std::byte* codes = low + (run & 1) * 32;
            const int low_shift = run < 2 ? 0 : 4, high_shift = static_cast<int>(2 * run);
            float* to = out + half * 128 + run * 32;
            for (std::int64_t j = 0; j < 32; ++j) {
                const int q = (byte_at(codes, j) >> low_shift & 15) | (byte_at(high, j) >> high_shift & 3) << 4;
                to[j] = scales[half * 8 + run * 2 + j / 16] * static_cast<float>(q - 32);
            }
        }
    }
}

using Decode = void (*)(const std::byte* in, float* out);

Decode decode_of(BlockFormat format) {   // in the order of the enumeration
    static constexpr Decode all[] = {decode_q4_0, decode_q4_1, decode_q5_0, decode_q5_1,
                                     decode_q8_0, decode_q4_k, decode_q5_k, decode_q6_k};
    return all[static_cast<std::size_t>(format)];
}

}   // namespace

void decode_block_run(BlockFormat format, const std::byte* in, std::int64_t count, float* out) {
    const Decode decode = decode_of(format);
    const std::int64_t elements = block_elements(format), bytes = block_bytes(format);
    for (std::int64_t i = 0; i < count; i += elements, in += bytes) decode(in, out + i);
}

void decode_int8(const std::int8_t* codes, std::int64_t count, float absmax, float* out) {
    constexpr float seventh_bit = 1.0f / 127.0f;
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(codes[i]) * absmax * seventh_bit;
}

void decode_fp8(const std::uint8_t* codes, std::int64_t count, float scale, float* out) {
    constexpr float other_bias = 0x1p120f;   // 2^(127 − 7)
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint32_t code = codes[i], size = code & 0x7Fu;
        const std::uint32_t nan = size == 0x7Fu ? 0x7FC00000u : 0u;
        const std::uint32_t bits = size << 20 | (code & 0x80u) << 24;
        out[i] =
            std::bit_cast<float>(std::bit_cast<std::uint32_t>(std::bit_cast<float>(bits) * other_bias) | nan) * scale;
    }
}

}   // namespace trainer::TRAINER_ISA
