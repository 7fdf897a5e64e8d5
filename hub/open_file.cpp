#include "hub/open_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace trainer {

namespace {

// Calls until it is not interrupted.
template <typename Call>
auto repeated(const Call& call) {
    while (true) {
        const auto result = call();
        if (result >= 0 || (errno != EINTR && errno != EAGAIN)) return result;
    }
}

}   // namespace

OpenFile::OpenFile(const std::filesystem::path& path, int flags, mode_t mode, std::string name)
    : name_(name.empty() ? path.string() : std::move(name)) {
    number_ = repeated([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
    if (number_ >= 0) return;
    if (flags & O_CREAT) fail(exit_of(errno, Exit::cannot_create), "{}: cannot be created: {}", name_, strerror(errno));
    require(errno != ENOENT && errno != ENOTDIR, Exit::no_input, "{}: no such file", name_);
    fail(exit_of(errno), "{}: cannot be opened: {}", name_, strerror(errno));
}

OpenFile OpenFile::temporary(std::filesystem::path& pattern, std::string name) {
    OpenFile file;
    file.name_ = std::move(name);
    std::string path;
    file.number_ = repeated([&] {
        path = pattern.string();
        return ::mkostemp(path.data(), O_CLOEXEC);
    });
    if (file.number_ < 0)
        fail(exit_of(errno, Exit::cannot_create), "{}: cannot be created: {}", file.name_, strerror(errno));
    pattern = path;
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(file.number_, 0666 & ~mask);   // as a file made by open; mkostemp makes it private
    return file;
}

OpenFile::~OpenFile() {
    if (number_ >= 0) ::close(number_);
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : number_(std::exchange(other.number_, -1)), name_(std::move(other.name_)) {}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
    std::swap(number_, other.number_);
    std::swap(name_, other.name_);
    return *this;
}

void OpenFile::fail_with(int reason, const char* what) const {
    fail(exit_of(reason), "{}: {}: {}", name_, what, strerror(reason));
}

std::uint64_t OpenFile::size() const {
    struct stat status {};
    if (::fstat(number_, &status) != 0) fail_with(errno, "cannot be examined");
    require(S_ISREG(status.st_mode), Exit::io, "{}: is not a regular file", name_);
    return static_cast<std::uint64_t>(status.st_size);
}

void OpenFile::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = repeated([&] { return ::write(number_, bytes.data(), bytes.size()); });
        if (count <= 0) fail_with(count == 0 ? ENOSPC : errno, "cannot be written");
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

void OpenFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count =
            repeated([&] { return ::pwrite(number_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
        if (count <= 0) fail_with(count == 0 ? ENOSPC : errno, "cannot be written");
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
}

void OpenFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
        const ssize_t count =
            repeated([&] { return ::pread(number_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
        if (count < 0) fail_with(errno, "cannot be read");
        require(count > 0, Exit::io, "{}: ends at byte {}, where {} more were expected", name_, offset, bytes.size());
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
}

void OpenFile::allocate(std::uint64_t size) {
    int reason = EINTR;
    while (reason == EINTR) reason = ::posix_fallocate(number_, 0, static_cast<off_t>(size));
    if (reason != 0) fail(exit_of(reason), "{}: no room for {} bytes: {}", name_, size, strerror(reason));
}

void OpenFile::truncate() {
    if (repeated([&] { return ::ftruncate(number_, 0); }) != 0) fail_with(errno, "cannot be written");
}

void OpenFile::sync() {
    if (repeated([&] { return ::fsync(number_); }) != 0) fail_with(errno, "cannot be flushed to disk");
}

void OpenFile::close() {
    const int result = ::close(std::exchange(number_, -1));
    // An interrupted close has closed the file on Linux.
    if (result != 0 && errno != EINTR) fail_with(errno, "cannot be written");
}

Exit exit_of(int reason, Exit otherwise) {
    switch (reason) {
        case EIO:
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return Exit::io;
        case EMFILE:
        case ENFILE:
        case ENOMEM:
            return Exit::system;
        default:
            return otherwise;
    }
}

void sync_folder(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder.empty() ? "." : folder;
    OpenFile file(path, O_RDONLY | O_DIRECTORY);
    file.sync();
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
    if (repeated([&] { return ::rename(from.c_str(), to.c_str()); }) != 0)
        fail(exit_of(errno), "{}: cannot be put in place: {}", to.string(), strerror(errno));
}

void make_folder(const std::filesystem::path& folder) {
    if (repeated([&] { return ::mkdir(folder.c_str(), 0777); }) != 0)
        fail(exit_of(errno, Exit::cannot_create), "{}: cannot be created: {}", folder.string(), strerror(errno));
}

}   // namespace trainer
