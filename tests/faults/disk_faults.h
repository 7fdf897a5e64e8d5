#pragma once

// A library that stands between a program and the disk: it counts the calls that change files under one folder, makes
// the n-th of them fail, or records them. A test program links it; any other program can be run under it:
//
//     LD_PRELOAD=…/libdisk_faults.so DISK_FAULT_ROOT=/abs/out DISK_FAULT=io_error DISK_FAULT_AT=17 trainer run …
//
// DISK_FAULT_ONWARDS=1: all calls from the n-th on. DISK_FAULT_FIRED=FILE: FILE is made when the fault happens.

#include <cstdint>
#include <string>
#include <vector>

namespace trainer::test {

enum class DiskFault {
    none,
    kill,          // SIGKILL before the call
    torn,          // writes: half of the bytes, then SIGKILL
    io_error,      // EIO
    no_space,      // ENOSPC
    interrupted,   // EINTR; only calls that POSIX lets be interrupted
    short_write,   // writes: half of the bytes
};

enum class DiskCall { create, open, write, allocate, truncate, sync, close, rename, exchange, unlink, make_folder };

// What happened in a process and its children.
struct DiskCount {
    std::int64_t calls = 0;   // that the fault can befall
    std::int64_t faults = 0;
    DiskCall call = DiskCall::open;   // that failed first
    char path[512] = "";              // what it was about
    bool on_writing = false;          // it meant to change a file or folder: all but reading opens and their closes
};

struct DiskPlan {
    std::string root;   // absolute; calls on paths below it, and itself
    DiskFault fault = DiskFault::none;
    std::int64_t at = 0;    // from 1
    bool onwards = false;   // and all that follow
    bool record = false;
};

// One call that succeeded, or a mark made by the program.
struct DiskRecord {
    DiskCall call = DiskCall::open;
    std::string path;
    std::string target;   // rename, exchange
    std::uint64_t offset = 0;
    std::uint64_t size = 0;   // allocate, truncate
    std::string data;         // write
    std::int64_t mark = -1;   // ≥ 0: no call, the program said so
};

// Counting starts again at 0. The count is kept in shared memory and lives until the next `arm_disk`.
const DiskCount& arm_disk(const DiskPlan& plan);
void disarm_disk();
void mark_disk(std::int64_t mark);
std::vector<DiskRecord> take_disk_records();

}   // namespace trainer::test
