#include "hub/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "configs/error.h"

namespace trainer {

namespace {

void sync_folder(const std::filesystem::path& folder) {
    const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(descriptor >= 0, Exit::io, "{}: cannot be opened: {}", folder.string(), std::strerror(errno));
    const int result = ::fsync(descriptor);
    const int reason = errno;
    ::close(descriptor);
    require(result == 0, Exit::io, "{}: cannot be flushed to disk: {}", folder.string(), std::strerror(reason));
}

}   // namespace

OutputFile::OutputFile(std::filesystem::path target) : target_(std::move(target)) {
    std::string pattern = (target_.parent_path() / ("." + target_.filename().string() + ".XXXXXX")).string();
    descriptor_ = ::mkostemp(pattern.data(), O_CLOEXEC);
    require(descriptor_ >= 0, Exit::cannot_create, "{}: cannot be created: {}", target_.string(), std::strerror(errno));
    temporary_ = pattern;
    const mode_t mask = ::umask(0);
    ::umask(mask);
    ::fchmod(descriptor_, 0666 & ~mask);   // as a file made by open; mkostemp makes it private
}

OutputFile::~OutputFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::write(descriptor_, bytes.data(), bytes.size());
        if (count < 0 && errno == EINTR) continue;
        require(count >= 0, Exit::io, "{}: cannot be written: {}", target_.string(), std::strerror(errno));
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        size_ += static_cast<std::uint64_t>(count);
    }
}

void OutputFile::write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

void OutputFile::commit() {
    require(::fsync(descriptor_) == 0, Exit::io, "{}: cannot be flushed to disk: {}", target_.string(),
            std::strerror(errno));
    const int closed = ::close(std::exchange(descriptor_, -1));
    require(closed == 0, Exit::io, "{}: cannot be written: {}", target_.string(), std::strerror(errno));
    require(::rename(temporary_.c_str(), target_.c_str()) == 0, Exit::io, "{}: cannot be put in place: {}",
            target_.string(), std::strerror(errno));
    temporary_.clear();
    sync_folder(target_.parent_path());
}

void write_file(const std::filesystem::path& target, std::string_view text) {
    OutputFile file(target);
    file.write(text);
    file.commit();
}

}   // namespace trainer
