#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace trainer {

// A file mapped read-only into memory. Pages are read on first use and may be given back with `release`, so reading a
// large file from end to end does not fill the process. Movable; the mapping ends with the object.
//
// Errors: no_input when the file is missing or a folder, io when it cannot be opened or mapped, bad_data when empty
// or no regular file, out_of_memory when there is no address space for it.
class MappedFile {
public:
    explicit MappedFile(std::filesystem::path path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> bytes() const { return {data_, size_}; }

    // Tells the system that these bytes (a part of `bytes()`) are not needed soon. They stay readable.
    void release(std::span<const std::byte> part) const;

private:
    std::filesystem::path path_;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}   // namespace trainer
