#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace trainer {

// "a folder", "a device", "a socket"; "" for what can be read to its end, and for what is not there.
std::string kind_of_no_file(const std::filesystem::path& path);

// The bytes of a file, or of a pipe up to its end, in order. Error(no_input) when it is missing, a folder, a device or
// a socket, or a pipe that nobody opens for writing within `patience`; Error(io) when it cannot be opened or read.
class InputFile {
public:
    static constexpr std::chrono::milliseconds patience{3000};

    explicit InputFile(const std::filesystem::path& path);
    ~InputFile();
    InputFile(const InputFile&) = delete;
    InputFile& operator=(const InputFile&) = delete;

    // Fills a part of the buffer from its beginning; how much, 0 at the end.
    std::size_t read(std::span<char> buffer);

private:
    void await_writer();

    std::string name_;
    int number_ = -1;
    bool had_writer_ = false;   // of a pipe
};

// All of it; Error(bad_data) when that is more than `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, std::size_t limit = SIZE_MAX);

}   // namespace trainer
