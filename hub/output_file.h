#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "hub/open_file.h"

namespace trainer {

// A file that appears whole or not at all: written beside its target as .tmp-<name>.XXXXXX, flushed to disk and renamed
// by `commit`. Without commit nothing is left; after a kill the temporary file is.
//
// Errors: cannot_create when the file cannot be created, io when writing, flushing or renaming fails, system when a
// limit such as that of open files is reached.
class OutputFile {
public:
    explicit OutputFile(std::filesystem::path target);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    void write(std::span<const std::byte> bytes);
    void write(std::string_view text);
    std::uint64_t size() const { return size_; }   // bytes written so far

    // fsync of the file, rename, fsync of the folder.
    void commit();

private:
    std::filesystem::path target_;
    std::filesystem::path temporary_;
    OpenFile file_;
    std::uint64_t size_ = 0;
};

// One text as a whole file.
void write_file(const std::filesystem::path& target, std::string_view text);

}   // namespace trainer
