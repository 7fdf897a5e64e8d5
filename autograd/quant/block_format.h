#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trainer {

// Formats of ggml in which a row is a sequence of blocks that hold their own scales (ggml-org/llama.cpp,
// ggml/src/ggml-common.h). A row is a whole number of blocks.
enum class BlockFormat : std::uint8_t { q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k, q6_k };

std::span<const BlockFormat> block_formats();   // all
std::string_view name_of(BlockFormat format);   // "Q4_K"
std::int64_t block_elements(BlockFormat format);
std::int64_t block_bytes(BlockFormat format);

// `count` elements (whole blocks) in f32, one rounding an operation: the values of the `gguf` Python package, bit for
// bit. One thread, any alignment.
void decode_blocks(BlockFormat format, const std::byte* in, std::int64_t count, float* out);

}   // namespace trainer
