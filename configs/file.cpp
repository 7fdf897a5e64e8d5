#include "configs/file.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "configs/error.h"

namespace trainer {

namespace fs = std::filesystem;

std::string kind_of_no_file(const fs::path& path) {
    std::error_code ignored;
    switch (fs::status(path, ignored).type()) {
        case fs::file_type::directory:
            return "a folder";
        case fs::file_type::block:
        case fs::file_type::character:
            return "a device";
        case fs::file_type::socket:
            return "a socket";
        default:
            return "";
    }
}

InputFile::InputFile(const fs::path& path) : name_(path.string()) {
    std::error_code ignored;
    const fs::file_type type = fs::status(path, ignored).type();
    require(type != fs::file_type::not_found, Exit::no_input, "{}: there is no such file", name_);
    const std::string kind = kind_of_no_file(path);
    require(kind.empty(), Exit::no_input, "{}: expected a file, found {}", name_, kind);
    had_writer_ = type != fs::file_type::fifo;
    do {
        number_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);   // does not wait for a pipe's writer
    } while (number_ < 0 && errno == EINTR);
    if (number_ < 0) fail(Exit::io, "{}: cannot be opened: {}", name_, std::strerror(errno));
}

InputFile::~InputFile() { ::close(number_); }

std::size_t InputFile::read(std::span<char> buffer) {
    while (true) {
        const ssize_t count = ::read(number_, buffer.data(), buffer.size());
        if (count > 0 || (count == 0 && had_writer_)) {
            had_writer_ = true;
            return static_cast<std::size_t>(count);
        }
        if (count == 0) {
            await_writer();
        } else if (errno == EAGAIN) {   // there is a writer, but nothing to read yet
            had_writer_ = true;
            pollfd waiting{number_, POLLIN, 0};
            ::poll(&waiting, 1, -1);
        } else if (errno != EINTR) {
            fail(Exit::io, "{}: cannot be read: {}", name_, std::strerror(errno));
        }
    }
}

void InputFile::await_writer() {
    using std::chrono::milliseconds;
    using std::chrono::steady_clock;
    const auto deadline = steady_clock::now() + patience;
    pollfd waiting{number_, POLLIN, 0};
    while (true) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
        require(left > 0, Exit::no_input, "{}: is a pipe that nobody writes to", name_);
        // A pipe ends only after a writer: until one has come, poll sees nothing.
        if (::poll(&waiting, 1, static_cast<int>(left)) > 0) break;
    }
    had_writer_ = true;
}

std::string read_text_file(const fs::path& path, std::size_t limit) {
    InputFile file(path);
    std::string text;
    std::error_code size_error;
    if (const auto size = fs::file_size(path, size_error); !size_error && size < limit) text.reserve(size);
    std::vector<char> buffer(1 << 16);
    while (const std::size_t count = file.read(buffer)) {
        text.append(buffer.data(), count);
        require(text.size() <= limit, Exit::bad_data,
                "{}: the file is larger than {} bytes, the most that is read here", path.string(), limit);
    }
    return text;
}

}   // namespace trainer
