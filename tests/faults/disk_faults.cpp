#include "tests/faults/disk_faults.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/faults/disk_watch.h"

namespace trainer::test {

std::atomic<bool> armed = false;

DiskState& state() {
    static DiskState* const only = new DiskState;
    return *only;
}

std::string absolute(int folder, const char* path) {
    if (path[0] == '/') return path;
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    if (folder != AT_FDCWD) {
        const auto found = state().open.find(folder);
        return found == state().open.end() ? "" : found->second.path + "/" + path;
    }
    char here[4096];
    return ::getcwd(here, sizeof here) ? std::string(here) + "/" + path : "";
}

bool is_watched(const std::string& path) {
    const std::string& root = state().plan.root;
    return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

namespace {

bool applies(DiskFault fault, DiskCall call) {
    switch (fault) {
        case DiskFault::torn:
        case DiskFault::short_write:
            return call == DiskCall::write;
        case DiskFault::interrupted:
            return call == DiskCall::create || call == DiskCall::open || call == DiskCall::write ||
                   call == DiskCall::allocate || call == DiskCall::sync || call == DiskCall::close;
        default:
            return true;
    }
}

}   // namespace

DiskFault meet(DiskCall call, bool writing, const std::string& path) {
    DiskState& all = state();
    if (!applies(all.plan.fault, call)) return DiskFault::none;
    const std::int64_t number = ++all.count->calls;
    const bool hit = all.plan.onwards ? number >= all.plan.at : number == all.plan.at;
    if (all.plan.fault == DiskFault::none || !hit) return DiskFault::none;
    if (all.count->faults++ == 0) {
        all.count->call = call;
        all.count->on_writing = writing;
        path.copy(all.count->path, sizeof all.count->path - 1);
        if (const char* file = std::getenv("DISK_FAULT_FIRED")) {
            static const auto real = next<int (*)(const char*, int, mode_t)>("open");
            static const auto real_close = next<int (*)(int)>("close");
            real_close(real(file, O_WRONLY | O_CREAT, 0666));
        }
    }
    if (all.plan.fault == DiskFault::kill) ::kill(::getpid(), SIGKILL);
    return all.plan.fault;
}

int reason_of(DiskFault fault) {
    return fault == DiskFault::no_space ? ENOSPC : fault == DiskFault::interrupted ? EINTR : EIO;
}

void record(DiskRecord record) {
    if (state().plan.record) state().records.push_back(std::move(record));
}

std::optional<DiskFault> file_call(int number, DiskCall call, OpenPath& open) {
    const auto found = state().open.find(number);
    if (found == state().open.end()) return {};
    open = found->second;
    return meet(call, found->second.writing || call == DiskCall::sync, open.path);
}

int by_errno(int reason) {
    errno = reason;
    return -1;
}

namespace {

DiskFault fault_named(const std::string& name) {
    const std::map<std::string, DiskFault> names = {
        {"kill", DiskFault::kill},         {"torn", DiskFault::torn},         {"io_error", DiskFault::io_error},
        {"no_space", DiskFault::no_space}, {"short", DiskFault::short_write}, {"interrupted", DiskFault::interrupted}};
    const auto found = names.find(name);
    return found == names.end() ? DiskFault::none : found->second;
}

[[gnu::constructor]] void arm_from_environment() {
    const char* root = std::getenv("DISK_FAULT_ROOT");
    if (!root) return;
    const char* fault = std::getenv("DISK_FAULT");
    const char* at = std::getenv("DISK_FAULT_AT");
    arm_disk({root, fault_named(fault ? fault : ""), at ? std::atoll(at) : 0,
              std::getenv("DISK_FAULT_ONWARDS") != nullptr, false});
}

}   // namespace

const DiskCount& arm_disk(const DiskPlan& plan) {
    DiskState& all = state();
    const std::lock_guard<std::recursive_mutex> hold(all.mutex);
    if (!all.count)
        all.count = static_cast<DiskCount*>(
            ::mmap(nullptr, sizeof(DiskCount), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    *all.count = {};
    all.plan = plan;
    all.open.clear();
    all.records.clear();
    armed = true;
    return *all.count;
}

void disarm_disk() { armed = false; }

void mark_disk(std::int64_t mark) {
    if (!armed) return;
    const std::lock_guard<std::recursive_mutex> hold(state().mutex);
    DiskRecord made;
    made.mark = mark;
    record(std::move(made));
}

std::vector<DiskRecord> take_disk_records() { return std::move(state().records); }

}   // namespace trainer::test
