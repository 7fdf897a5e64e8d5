#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/quant/block_format.h"
#include "configs/node.h"
#include "hub/mapped_file.h"

namespace trainer {

// The GGUF container, versions 2 and 3, little-endian (ggml-org/llama.cpp, ggml/include/gguf.h). Every count, length
// and offset is checked against the file before it is used.

enum class GgufType : std::uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q8_1 = 9,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    q8_k = 15,
    iq2_xxs = 16,
    iq2_xs = 17,
    iq3_xxs = 18,
    iq1_s = 19,
    iq4_nl = 20,
    iq3_s = 21,
    iq2_s = 22,
    iq4_xs = 23,
    i8 = 24,
    i16 = 25,
    i32 = 26,
    i64 = 27,
    f64 = 28,
    iq1_m = 29,
    bf16 = 30,
    tq1_0 = 34,
    tq2_0 = 35,
    mxfp4 = 39,
};

struct GgufTensor {
    std::string name;
    GgufType type = GgufType::f32;
    std::vector<std::int64_t> shape;   // as in PyTorch: slowest dimension first (the file stores the reverse)
    std::span<const std::byte> bytes;

    std::int64_t row_length() const { return shape.empty() ? 1 : shape.back(); }
    std::int64_t rows() const;   // product of all dimensions but the last
};

// One file, checked as a whole when opened. Errors: bad_data naming file, key or tensor and reason; those of
// MappedFile.
class GgufFile {
public:
    explicit GgufFile(std::filesystem::path path);

    const std::filesystem::path& path() const { return file_.path(); }
    std::uint32_t version() const { return version_; }
    const Node& metadata() const { return metadata_; }                    // a map, keys as in the file
    const std::vector<GgufTensor>& tensors() const { return tensors_; }   // in the order of the file
    const GgufTensor* find(std::string_view name) const;
    const GgufTensor& at(std::string_view name) const;   // Error(bad_data) when absent
    void release(const GgufTensor& tensor) const { file_.release(tensor.bytes); }

private:
    MappedFile file_;
    std::uint32_t version_ = 0;
    Node metadata_;
    std::vector<GgufTensor> tensors_;
    std::unordered_map<std::string, std::size_t> index_;
};

std::string_view name_of(GgufType type);   // "Q4_1"
std::int64_t block_elements(GgufType type);
std::int64_t block_bytes(GgufType type);

// The block format that a type is; nothing for plain numbers and for blocks that are not read.
std::optional<BlockFormat> block_format(GgufType type);
// True for F32, F16, BF16 and the block formats.
bool can_dequantise(GgufType type);
std::string readable_types();   // "F32, F16, BF16, Q4_0, …", for messages

// Rows of a tensor as f32, bf16 or f16 (rounded to nearest even from the f32 value), in parallel. Row i of the result
// is row `rows[i]` of the tensor; `destination` holds rows.size() × row_length elements. The f32 values are those of
// the `gguf` Python package, bit for bit. Error(bad_data) names tensor and type when the type has no dequantiser.
void dequantise_rows(const GgufTensor& tensor, std::span<const std::int64_t> rows, DType target, void* destination);

// The whole tensor, in its order.
void dequantise(const GgufTensor& tensor, DType target, void* destination);

}   // namespace trainer
