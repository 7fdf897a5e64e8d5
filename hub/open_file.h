#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "configs/error.h"

namespace trainer {

// A file held open. Interrupted system calls are repeated and short writes continued; any other failure is an Error
// naming the file, with the code of `exit_of`. After a failed write or sync the file must be given up: the kernel
// reports a lost page once, so a second sync may claim that all is well.
class OpenFile {
public:
    OpenFile() = default;
    // As open(2), with O_CLOEXEC. `name` is what messages call the file; by default its path.
    OpenFile(const std::filesystem::path& path, int flags, mode_t mode = 0666, std::string name = "");
    // A private file of a new name: `pattern` ends with XXXXXX and becomes that name.
    static OpenFile temporary(std::filesystem::path& pattern, std::string name);
    ~OpenFile();   // closes without a word
    OpenFile(OpenFile&& other) noexcept;
    OpenFile& operator=(OpenFile&& other) noexcept;
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    bool is_open() const { return number_ >= 0; }
    int number() const { return number_; }
    const std::string& name() const { return name_; }
    std::uint64_t size() const;   // as the file system says; Error(io) unless it is a regular file

    void write(std::span<const std::byte> bytes);
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    // Fills `bytes`; Error(io) when the file ends before.
    void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;
    void allocate(std::uint64_t size);   // room on disk for that many bytes, and that size
    void truncate();                     // to nothing
    void sync();
    void close();

private:
    [[noreturn]] void fail_with(int reason, const char* what) const;

    int number_ = -1;
    std::string name_;
};

// The code of a failed system call: io when the disk is full or broken, system when a limit of the process or machine
// is reached, `otherwise` for the rest.
Exit exit_of(int reason, Exit otherwise = Exit::io);

// fsync of a folder: names made, changed and removed in it survive a power cut. Error(io).
void sync_folder(const std::filesystem::path& folder);

// rename(2). Error as `exit_of`, naming the new path. The folder is not synced.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);

// mkdir(2) of one folder. Error(cannot_create), or as `exit_of`.
void make_folder(const std::filesystem::path& folder);

}   // namespace trainer
