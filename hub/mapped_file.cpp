#include "hub/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "configs/error.h"

namespace trainer {

namespace {

struct Descriptor {
    int number;
    ~Descriptor() { ::close(number); }
};

}   // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
    const int number = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);   // does not wait for a pipe's writer
    if (number < 0) {
        const int reason = errno;
        require(reason != ENOENT && reason != ENOTDIR, Exit::no_input, "{}: no such file", path_.string());
        fail(Exit::io, "{}: cannot be opened: {}", path_.string(), std::strerror(reason));
    }
    const Descriptor descriptor{number};
    struct stat status {};
    if (::fstat(number, &status) != 0)
        fail(Exit::io, "{}: cannot be examined: {}", path_.string(), std::strerror(errno));
    require(!S_ISDIR(status.st_mode), Exit::no_input, "{}: is a folder, expected a file", path_.string());
    require(S_ISREG(status.st_mode), Exit::bad_data, "{}: is not a regular file", path_.string());
    require(status.st_size > 0, Exit::bad_data, "{}: the file is empty", path_.string());
    size_ = static_cast<std::size_t>(status.st_size);
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, number, 0);
    if (address == MAP_FAILED)
        fail(errno == ENOMEM ? Exit::out_of_memory : Exit::io, "{}: cannot be mapped into memory: {}", path_.string(),
             std::strerror(errno));
    data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
    if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

void MappedFile::release(std::span<const std::byte> part) const {
    // Only whole pages inside the part: its edges may belong to a neighbour that is being read.
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto offset = static_cast<std::size_t>(part.data() - data_);
    const std::size_t begin = (offset + page - 1) / page * page;
    const std::size_t end = (offset + part.size()) / page * page;
    if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}   // namespace trainer
