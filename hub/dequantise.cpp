#include <omp.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "configs/error.h"
#include "hub/convert.h"
#include "hub/gguf.h"

namespace trainer {

namespace {

// Block formats: 32 values each; ggml-org/llama.cpp, ggml/src/ggml-common.h. The arithmetic is in f32, one rounding an
// operation, as in the `gguf` Python package.
constexpr std::int64_t block = 32;
// Below this, one thread is done within a millisecond; on a busy machine waiting for a second one costs more.
constexpr std::int64_t parallel_elements = 1 << 20;

float half_at(const std::byte* in) {
    std::uint16_t bits;
    std::memcpy(&bits, in, sizeof bits);
    return half_to_float(bits);
}

// f16 scale, 32 × i8: scale · q
void row_q8_0(const std::byte* in, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; i += block, in += 34, out += block) {
        const float scale = half_at(in);
        for (std::int64_t j = 0; j < block; ++j)
            out[j] = static_cast<float>(static_cast<std::int8_t>(in[2 + j])) * scale;
    }
}

// f16 scale, 16 bytes of two values each, the low halves first: scale · (q − 8)
void row_q4_0(const std::byte* in, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; i += block, in += 18, out += block) {
        const float scale = half_at(in);
        for (std::int64_t j = 0; j < block / 2; ++j) {
            const int pair = static_cast<int>(in[2 + j]);
            out[j] = scale * static_cast<float>((pair & 15) - 8);
            out[j + block / 2] = scale * static_cast<float>((pair >> 4) - 8);
        }
    }
}

// f16 scale, f16 minimum, 16 bytes as above: scale · q + minimum
void row_q4_1(const std::byte* in, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; i += block, in += 20, out += block) {
        const float scale = half_at(in);
        const float minimum = half_at(in + 2);
        for (std::int64_t j = 0; j < block / 2; ++j) {
            const int pair = static_cast<int>(in[4 + j]);
            out[j] = scale * static_cast<float>(pair & 15) + minimum;
            out[j + block / 2] = scale * static_cast<float>(pair >> 4) + minimum;
        }
    }
}

using RowFunction = void (*)(const std::byte*, std::int64_t, float*);

RowFunction row_function(GgufType type) {
    switch (type) {
        case GgufType::q8_0:
            return row_q8_0;
        case GgufType::q4_0:
            return row_q4_0;
        case GgufType::q4_1:
            return row_q4_1;
        case GgufType::f32:
            return [](const std::byte* in, std::int64_t count, float* out) {
                convert_from_file(FileDType::f32, in, count, DType::f32, out);
            };
        case GgufType::f16:
            return [](const std::byte* in, std::int64_t count, float* out) {
                convert_from_file(FileDType::f16, in, count, DType::f32, out);
            };
        case GgufType::bf16:
            return [](const std::byte* in, std::int64_t count, float* out) {
                convert_from_file(FileDType::bf16, in, count, DType::f32, out);
            };
        default:
            return nullptr;
    }
}

}   // namespace

bool can_dequantise(GgufType type) { return row_function(type) != nullptr; }

void dequantise_rows(const GgufTensor& tensor, std::span<const std::int64_t> rows, DType target, void* destination) {
    check(target == DType::f32 || target == DType::bf16, "dequantise: target {}, expected f32 or bf16",
          name_of(target));
    const RowFunction convert = row_function(tensor.type);
    require(convert != nullptr, Exit::bad_data,
            "tensor {} has type {}, which is not supported (supported: F32, F16, BF16, Q8_0, Q4_0, Q4_1)", tensor.name,
            name_of(tensor.type));
    const std::int64_t length = tensor.row_length();
    const std::int64_t row_bytes = length / block_elements(tensor.type) * block_bytes(tensor.type);
    const std::int64_t last = tensor.rows();
    check(std::all_of(rows.begin(), rows.end(), [last](std::int64_t row) { return row >= 0 && row < last; }),
          "dequantise: tensor {} has {} rows", tensor.name, last);
    const auto count = static_cast<std::int64_t>(rows.size());
    const std::int64_t scratch_length = target == DType::bf16 ? length : 0;
    std::vector<float> scratch(static_cast<std::size_t>(omp_get_max_threads() * scratch_length));   // a row for each
#pragma omp parallel for schedule(static) if (count * length > parallel_elements)
    for (std::int64_t i = 0; i < count; ++i) {
        const std::byte* in = tensor.bytes.data() + rows[static_cast<std::size_t>(i)] * row_bytes;
        if (target == DType::f32) {
            convert(in, length, static_cast<float*>(destination) + i * length);
        } else {
            float* own = scratch.data() + omp_get_thread_num() * scratch_length;
            convert(in, length, own);
            round_to_bf16(own, length, static_cast<bf16*>(destination) + i * length);
        }
    }
}

void dequantise(const GgufTensor& tensor, DType target, void* destination) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(tensor.rows()));
    std::iota(rows.begin(), rows.end(), 0);
    dequantise_rows(tensor, rows, target, destination);
}

}   // namespace trainer
