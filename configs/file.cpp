#include "configs/file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "configs/error.h"

namespace trainer {

std::string read_text_file(const std::filesystem::path& path, std::size_t limit) {
    std::error_code status_error;
    const auto status = std::filesystem::status(path, status_error);
    if (status.type() == std::filesystem::file_type::not_found)
        fail(Exit::no_input, "{}: there is no such file", path.string());
    if (std::filesystem::is_directory(status))
        fail(Exit::no_input, "{}: expected a file, found a folder", path.string());
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
    if (!file) fail(Exit::io, "{}: cannot be opened: {}", path.string(), std::strerror(errno));

    std::string text;
    std::error_code size_error;
    if (const auto size = std::filesystem::file_size(path, size_error); !size_error && size < limit) text.reserve(size);
    char buffer[1 << 16];
    while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, file.get())) {
        text.append(buffer, count);
        require(text.size() <= limit, Exit::bad_data,
                "{}: the file is larger than {} bytes, the most that is read here", path.string(), limit);
    }
    if (std::ferror(file.get())) fail(Exit::io, "{}: cannot be read: {}", path.string(), std::strerror(errno));
    return text;
}

}   // namespace trainer
