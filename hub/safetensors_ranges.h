#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "hub/open_file.h"
#include "hub/safetensors.h"
#include "hub/safetensors_layout.h"
#include "hub/sha256.h"

namespace trainer {

// One safetensors file that several processes write together. All of them know the layout. One calls
// `create_shared_safetensors`; when that has returned (a barrier is the caller's), each opens a writer, writes its own
// parts of tensors, and calls `finish`. Nobody may read the file as valid before all have finished.

// Makes the file with its whole size, so that a full disk shows now. The path must not exist. Errors: those of
// OpenFile; io when there is no room. A file half made is removed.
void create_shared_safetensors(const std::filesystem::path& path, const SafetensorsLayout& layout);

// What one process wrote, or a part of it, in the order it wrote: neighbouring ranges are joined.
struct WrittenRanges {
    std::vector<ByteRange> ranges;   // of the file
    std::string sha256;              // of their bytes, one range after the other
};

class SafetensorsRangeWriter {
public:
    // Bytes under one digest, so that many threads can check a large file.
    static constexpr std::uint64_t part_bytes = 64 << 20;

    // The layout must outlive it. Error(io) when the file has not the layout's size; those of OpenFile.
    SafetensorsRangeWriter(const std::filesystem::path& path, const SafetensorsLayout& layout,
                           std::uint64_t bytes_of_part = part_bytes);

    // Exactly one of the processes writes the bytes before the data.
    void write_head();
    // The elements of a tensor from `element_begin` on, row-major, as they lie in the file. Error(internal) when they
    // are no whole elements or lie outside the tensor. Errors of writing end the use of this writer.
    void write(std::string_view tensor, std::int64_t element_begin, std::span<const std::byte> bytes);
    // Flushes to disk and closes. What was written, in parts of at most `bytes_of_part`, all but the last full; none
    // when nothing was.
    std::vector<WrittenRanges> finish();

private:
    void put(std::uint64_t offset, std::span<const std::byte> bytes);
    void end_part();

    const SafetensorsLayout* layout_;
    OpenFile file_;
    std::uint64_t bytes_of_part_;
    std::vector<WrittenRanges> parts_;   // those that have ended
    Sha256 hash_;                        // of the one under way
    std::vector<ByteRange> ranges_;
    std::uint64_t part_size_ = 0;
};

// Parts of the tensors of a file, whatever parts they were written in.
class SafetensorsRangeReader {
public:
    // Errors: those of SafetensorsFile.
    explicit SafetensorsRangeReader(const std::filesystem::path& path);

    const SafetensorsFile& file() const { return file_; }
    // Fills `bytes` with the elements from `element_begin` on, as they lie in the file. Error bad_data when the tensor
    // is absent or has no such elements, io when reading fails.
    void read(std::string_view tensor, std::int64_t element_begin, std::span<std::byte> bytes) const;

    struct Part {
        std::string tensor;
        std::int64_t element_begin = 0;
        std::span<std::byte> bytes;   // to be filled
    };
    // The same for many, in pieces, on all threads.
    void read(const std::vector<Part>& parts) const;

private:
    std::uint64_t offset_of(std::string_view tensor, std::int64_t element_begin, std::uint64_t size) const;

    SafetensorsFile file_;
    OpenFile bytes_;
};

}   // namespace trainer
