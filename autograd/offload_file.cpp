#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "autograd/offload.h"
#include "configs/error.h"

namespace trainer {

namespace {

class FileStore : public OffloadStore {
public:
    FileStore(const std::filesystem::path& folder, std::uint64_t bytes) : folder_(folder) {
        std::string name = (folder / ".tmp-offload-XXXXXX").string();
        file_ = ::mkostemp(name.data(), O_CLOEXEC);
        if (file_ < 0) refuse(Exit::cannot_create, "a file to offload to cannot be made");
        if (::unlink(name.c_str()) != 0) refuse(Exit::cannot_create, "a file to offload to cannot be hidden");
        if (bytes > 0) allocate(bytes);
    }
    ~FileStore() override { close(); }
    FileStore(const FileStore&) = delete;
    FileStore& operator=(const FileStore&) = delete;

    std::uint64_t take_room(std::uint64_t bytes) override {
        const std::lock_guard lock(mutex_);
        const auto fits = [bytes](const auto& room) { return room.second >= bytes; };
        const auto found = std::find_if(free_.begin(), free_.end(), fits);   // the first
        if (found == free_.end()) return std::exchange(end_, end_ + bytes);
        const auto [offset, size] = *found;
        free_.erase(found);
        if (size > bytes) free_[offset + bytes] = size - bytes;
        return offset;
    }

    void give_room(std::uint64_t begin, std::uint64_t size) override {
        const std::lock_guard lock(mutex_);
        auto here = free_.emplace(begin, size).first;
        const auto next = std::next(here);
        if (next != free_.end() && here->first + here->second == next->first) {
            here->second += next->second;
            free_.erase(next);
        }
        if (here != free_.begin()) {
            const auto before = std::prev(here);
            if (before->first + before->second == here->first) {
                before->second += here->second;
                free_.erase(here);
                here = before;
            }
        }
        if (here->first + here->second != end_) return;
        end_ = here->first;
        free_.erase(here);
    }

    void write(std::uint64_t offset, const Tensor& value) override {
        std::span bytes(static_cast<const std::byte*>(value.raw()), value.bytes());
        while (!bytes.empty()) {
            const ssize_t done = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
            if (done < 0 && errno == EINTR) continue;
            if (done <= 0) fail_io("what is offloaded cannot be written", done < 0 ? errno : ENOSPC);
            offset += static_cast<std::uint64_t>(done);
            bytes = bytes.subspan(static_cast<std::size_t>(done));
        }
    }

    void read(std::uint64_t offset, Tensor& value) const override {
        std::span bytes(static_cast<std::byte*>(value.raw()), value.bytes());
        while (!bytes.empty()) {
            const ssize_t done = ::pread(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
            if (done < 0 && errno == EINTR) continue;
            if (done <= 0) fail_io("what is offloaded cannot be read back", done < 0 ? errno : EIO);
            offset += static_cast<std::uint64_t>(done);
            bytes = bytes.subspan(static_cast<std::size_t>(done));
        }
    }

private:
    void allocate(std::uint64_t bytes) {
        int error = 0;
        do error = ::posix_fallocate(file_, 0, static_cast<off_t>(bytes));
        while (error == EINTR);
        if (error == 0 || error == EINVAL || error == EOPNOTSUPP) return;   // a file system without it
        errno = error;
        refuse(Exit::io, format("{} bytes to offload to cannot be had", bytes));
    }

    [[noreturn]] void refuse(Exit code, const std::string& what) {
        const int error = errno;
        close();
        fail(code, "{}: {}: {}", folder_.string(), what, std::strerror(error));
    }
    [[noreturn]] void fail_io(const char* what, int error) const {
        fail(Exit::io, "{}: {}: {}; the run can be resumed", folder_.string(), what, std::strerror(error));
    }
    void close() {
        if (file_ >= 0) ::close(file_);
        file_ = -1;
    }

    std::filesystem::path folder_;
    int file_ = -1;
    std::mutex mutex_;
    std::map<std::uint64_t, std::uint64_t> free_;   // bytes by offset; neighbours are joined
    std::uint64_t end_ = 0;                         // nothing was ever taken from here on
};

}   // namespace

std::unique_ptr<OffloadStore> make_file_store(const std::filesystem::path& folder, std::uint64_t bytes) {
    return std::make_unique<FileStore>(folder, bytes);
}

}   // namespace trainer
