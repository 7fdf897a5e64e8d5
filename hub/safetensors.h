#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/tensor.h"
#include "hub/mapped_file.h"

namespace trainer {

// The safetensors container: u64 length N, a JSON header of N bytes, then the tensors, back to back, little-endian,
// row-major. Rules: docs of huggingface/safetensors, read strictly (duplicate keys, holes, overlaps and trailing
// bytes are errors).

// Element types of the format in the order in which the reference writer sorts tensors (ascending; it writes them
// descending).
enum class FileDType : std::uint8_t {
    boolean,
    f4,
    f6_e2m3,
    f6_e3m2,
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,
    f64,
    i64,
    u64,
};

std::string_view name_of(FileDType dtype);   // "BF16"
int bits_of(FileDType dtype);
std::optional<FileDType> file_dtype(std::string_view name);
FileDType file_dtype(DType dtype);   // of a tensor in memory

using FileShape = std::vector<std::int64_t>;
std::string shape_text(const FileShape& shape);   // "[3, 4]"
std::int64_t element_count(const FileShape& shape);
// Bytes of a tensor; nothing when the number overflows or does not fill whole bytes.
std::optional<std::uint64_t> byte_count(FileDType dtype, const FileShape& shape);

inline constexpr std::uint64_t largest_safetensors_header = 100'000'000;   // bytes; the reference reader's limit

struct FileTensor {
    std::string name;
    FileDType dtype = FileDType::f32;
    FileShape shape;
    std::uint64_t begin = 0;   // bytes, relative to the data
    std::uint64_t end = 0;
};

// One file, checked as a whole when opened. Errors: bad_data naming file, tensor and reason; those of MappedFile.
class SafetensorsFile {
public:
    explicit SafetensorsFile(std::filesystem::path path);

    const std::filesystem::path& path() const { return file_.path(); }
    const std::vector<FileTensor>& tensors() const { return tensors_; }   // in the order of the data
    const FileTensor* find(std::string_view name) const;                  // null pointer when absent
    const FileTensor& at(std::string_view name) const;                    // Error(bad_data) when absent
    std::span<const std::byte> bytes(const FileTensor& tensor) const;     // may be unaligned
    std::uint64_t data_begin() const { return data_offset_; }             // where the data begin in the file
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    // Converts all elements to f32, bf16 or f16 (from F32, F16, BF16, F64 and integers), in parallel, and gives the
    // pages of the file back. `destination` holds element_count(shape) elements. Error(bad_data) names tensor and type
    // when the type has no conversion. bf16 rounds to nearest even.
    void read(const FileTensor& tensor, DType target, void* destination) const;

private:
    MappedFile file_;
    std::size_t data_offset_ = 0;
    std::vector<FileTensor> tensors_;
    std::unordered_map<std::string, std::size_t> index_;
    std::map<std::string, std::string> metadata_;
};

// Takes the bytes of a tensor piece by piece, in order.
using ByteSink = std::function<void(std::span<const std::byte>)>;

// A tensor to be written. Exactly one of `bytes` (must stay valid until written) and `produce` (called once, when its
// turn comes; for tensors that are converted on the way or do not fit in memory) is set, unless it has no elements.
struct TensorToWrite {
    std::string name;
    FileDType dtype = FileDType::f32;
    FileShape shape;
    std::span<const std::byte> bytes;
    std::function<void(const ByteSink&)> produce;

    std::uint64_t byte_count() const;
};

// The elements of a contiguous tensor in host memory, which must live until they are written.
TensorToWrite tensor_in_memory(std::string name, FileDType dtype, FileShape shape, const Tensor& tensor);

using FileMetadata = std::map<std::string, std::string>;

// Writes byte for byte what the reference writer writes for the same tensors, through OutputFile. Errors: internal
// when names repeat or sizes do not agree; those of OutputFile.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const FileMetadata& metadata = {{"format", "pt"}});

}   // namespace trainer
