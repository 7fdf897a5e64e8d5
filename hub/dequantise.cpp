#include <omp.h>

#include <algorithm>
#include <numeric>

#include "configs/error.h"
#include "hub/convert.h"
#include "hub/gguf.h"

namespace trainer {

namespace {

// Below this, one thread is done within a millisecond; on a busy machine waiting for a second one costs more.
constexpr std::int64_t parallel_elements = 1 << 20;

std::optional<FileDType> plain_type(GgufType type) {
    switch (type) {
        case GgufType::f32:
            return FileDType::f32;
        case GgufType::f16:
            return FileDType::f16;
        case GgufType::bf16:
            return FileDType::bf16;
        default:
            return std::nullopt;
    }
}

void row_to_f32(GgufType type, const std::byte* in, std::int64_t count, float* out) {
    if (const auto plain = plain_type(type))
        convert_from_file(*plain, in, count, DType::f32, out);
    else
        decode_blocks(*block_format(type), in, count, out);
}

}   // namespace

std::optional<BlockFormat> block_format(GgufType type) {
    for (const BlockFormat format : block_formats())
        if (name_of(format) == name_of(type)) return format;
    return std::nullopt;
}

bool can_dequantise(GgufType type) { return plain_type(type) || block_format(type); }

std::string readable_types() {
    std::string text = "F32, F16, BF16";
    for (const BlockFormat format : block_formats()) text += ", " + std::string(name_of(format));
    return text;
}

void dequantise_rows(const GgufTensor& tensor, std::span<const std::int64_t> rows, DType target, void* destination) {
    require(can_dequantise(tensor.type), Exit::bad_data,
            "tensor {} has type {}, which is not supported (supported: {})", tensor.name, name_of(tensor.type),
            readable_types());
    const std::int64_t length = tensor.row_length();
    const std::int64_t row_bytes = length / block_elements(tensor.type) * block_bytes(tensor.type);
    const std::int64_t last = tensor.rows();
    check(std::all_of(rows.begin(), rows.end(), [last](std::int64_t row) { return row >= 0 && row < last; }),
          "dequantise: tensor {} has {} rows", tensor.name, last);
    const auto count = static_cast<std::int64_t>(rows.size());
    const std::int64_t scratch_length = target == DType::f32 ? 0 : length;
    std::vector<float> scratch(static_cast<std::size_t>(omp_get_max_threads() * scratch_length));   // a row for each
#pragma omp parallel for schedule(static) if (count * length > parallel_elements)
    for (std::int64_t i = 0; i < count; ++i) {
        const std::byte* in = tensor.bytes.data() + rows[static_cast<std::size_t>(i)] * row_bytes;
        auto* out = static_cast<std::byte*>(destination) + i * length * static_cast<std::int64_t>(size_of(target));
        if (target == DType::f32) {
            row_to_f32(tensor.type, in, length, reinterpret_cast<float*>(out));
        } else {
            float* own = scratch.data() + omp_get_thread_num() * scratch_length;
            row_to_f32(tensor.type, in, length, own);
            convert_from_file(FileDType::f32, reinterpret_cast<const std::byte*>(own), length, target, out);
        }
    }
}

void dequantise(const GgufTensor& tensor, DType target, void* destination) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(tensor.rows()));
    std::iota(rows.begin(), rows.end(), 0);
    dequantise_rows(tensor, rows, target, destination);
}

}   // namespace trainer
