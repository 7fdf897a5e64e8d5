#pragma once

// Inside of libdisk_faults: what it knows, and what becomes of each kind of call.

#include <sys/stat.h>
#include <sys/types.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/faults/disk_faults.h"

namespace trainer::test {

struct OpenPath {
    std::string path;
    std::uint64_t offset = 0;
    bool writing = false;
};

struct DiskState {
    std::recursive_mutex mutex;
    DiskPlan plan;
    DiskCount* count = nullptr;
    std::map<int, OpenPath> open;
    std::vector<DiskRecord> records;
};

extern std::atomic<bool> armed;
DiskState& state();

std::string absolute(int folder, const char* path);   // "" when the folder is not watched
bool is_watched(const std::string& path);
// Counts a call that the fault can befall; the fault that it meets.
DiskFault meet(DiskCall call, bool writing, const std::string& path);
int reason_of(DiskFault fault);   // as errno
void record(DiskRecord record);
// Counts a call on an open file. Nothing when the file is not watched.
std::optional<DiskFault> file_call(int number, DiskCall call, OpenPath& open);
int by_errno(int reason);   // sets errno, -1

// The C library's own.
template <typename Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

// A call that works on paths: counted, failed or done, and recorded.
template <typename Call>
int path_call(DiskRecord made, const Call& call) {
    if (!armed) return call();
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    if (!is_watched(made.path)) return call();
    if (const DiskFault fault = meet(made.call, true, made.path); fault != DiskFault::none) {
        errno = reason_of(fault);
        return -1;
    }
    const int result = call();
    if (result == 0) record(std::move(made));
    return result;
}

// open, openat and mkostemp. `path` is asked for afterwards, when mkostemp has made it.
template <typename Call, typename Path>
int open_call(int flags, const Path& path, const Call& call) {
    if (!armed) return call();
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    const std::string before = path();
    struct stat status {};
    const bool creates = (flags & O_CREAT) && ::lstat(before.c_str(), &status) != 0;
    const bool writing = (flags & O_ACCMODE) != O_RDONLY;
    if (is_watched(before))
        if (const DiskFault fault = meet(creates ? DiskCall::create : DiskCall::open, writing, before);
            fault != DiskFault::none) {
            errno = reason_of(fault);
            return -1;
        }
    const int number = call();
    if (number < 0) return number;
    state().open.erase(number);
    if (!is_watched(before)) return number;
    state().open[number] = {path(), 0, writing};
    if (creates) record({DiskCall::create, path(), "", 0, 0, "", -1});
    return number;
}

template <typename Write>
ssize_t write_call(int number, const void* bytes, std::size_t size, std::optional<std::uint64_t> offset,
                   const Write& write) {
    if (!armed) return write(size);
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    OpenPath open;
    const auto fault = file_call(number, DiskCall::write, open);
    if (!fault) return write(size);
    const bool half = *fault == DiskFault::torn || *fault == DiskFault::short_write;
    if (*fault != DiskFault::none && !half) {
        errno = reason_of(*fault);
        return -1;
    }
    const ssize_t count = write(half ? (size + 1) / 2 : size);
    if (*fault == DiskFault::torn) ::kill(::getpid(), SIGKILL);
    if (count < 0) return count;
    const auto written = static_cast<std::size_t>(count);
    record({DiskCall::write, open.path, "", offset.value_or(open.offset), 0,
            std::string(static_cast<const char*>(bytes), written), -1});
    if (!offset) state().open[number].offset += written;
    return count;
}

// sync, allocate, truncate: `call` gives 0 on success. `fail` turns an errno into the result.
template <typename Call, typename Fail>
int change_call(int number, DiskCall kind, std::uint64_t size, const Call& call, const Fail& fail) {
    if (!armed) return call();
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    OpenPath open;
    const auto fault = file_call(number, kind, open);
    if (fault && *fault != DiskFault::none) return fail(reason_of(*fault));
    const int result = call();
    if (fault && result == 0) record({kind, open.path, "", 0, size, "", -1});
    return result;
}

// A close that fails has closed.
template <typename Call>
int close_call(int number, const Call& call) {
    if (!armed) return call();
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    OpenPath open;
    const auto fault = file_call(number, DiskCall::close, open);
    state().open.erase(number);
    const int result = call();
    return fault && *fault != DiskFault::none ? by_errno(reason_of(*fault)) : result;
}

}   // namespace trainer::test
