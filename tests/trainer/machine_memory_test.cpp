#include "trainer/machine_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <sstream>

#include "tests/support/tiny_model.h"

namespace trainer::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t gibibyte = std::size_t{1} << 30;

// A machine of files.
class Machine {
public:
    Machine() { put("proc/meminfo", "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n"); }

    void put(const std::string& name, const std::string& text) const {
        fs::create_directories((root_ / name).parent_path());
        put_text(root_ / name, text);
    }
    MemoryLeft left(int processes = 1) const { return memory_left(processes, root_.path()); }
    std::string file(const std::string& name) const { return (root_ / name).string(); }

private:
    ScratchFolder root_;
};

TEST(MachineMemory, WhatTheMachineHasIsShared) {
    const Machine machine;
    EXPECT_EQ(machine.left().bytes, 8 * gibibyte);
    EXPECT_EQ(machine.left(4).bytes, 2 * gibibyte);
    EXPECT_EQ(machine.left().bound, "the machine's free memory");
}

// Version 2: the group or one around it; what only caches files does not count.
TEST(MachineMemory, ControlGroupsOfVersionTwo) {
    const Machine machine;
    machine.put("proc/self/cgroup", "0::/job/step\n");
    machine.put("sys/fs/cgroup/job/step/memory.max", "max\n");
    machine.put("sys/fs/cgroup/job/step/memory.current", "1073741824\n");
    EXPECT_EQ(machine.left().bytes, 8 * gibibyte);
    machine.put("sys/fs/cgroup/job/memory.max", "4294967296\n");
    machine.put("sys/fs/cgroup/job/memory.current", "3221225472\n");
    machine.put("sys/fs/cgroup/job/memory.stat", "anon 1073741824\ninactive_file 2147483648\n");
    EXPECT_EQ(machine.left().bytes, 3 * gibibyte);
    EXPECT_EQ(machine.left().bound,
              "the limit of the control group in " + machine.file("sys/fs/cgroup/job/memory.max"));
    EXPECT_EQ(machine.left(3).bytes, gibibyte);
}

TEST(MachineMemory, ControlGroupsOfVersionOne) {
    const Machine machine;
    machine.put("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n");
    machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");   // no limit
    machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n");
    machine.put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2147483648\n");
    machine.put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1610612736\n");
    machine.put("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 536870912\n");
    EXPECT_EQ(machine.left().bytes, gibibyte);
}

// Inside a container the group's path is not there; the mount is the group itself.
TEST(MachineMemory, AContainersGroup) {
    const Machine machine;
    machine.put("proc/self/cgroup", "0::/../../kubepods/pod1\n");
    machine.put("sys/fs/cgroup/memory.max", "1073741824\n");
    machine.put("sys/fs/cgroup/memory.current", "0\n");
    EXPECT_EQ(machine.left().bytes, gibibyte);
}

// Used up: nothing is left, not less than nothing.
TEST(MachineMemory, MoreThanTheLimitIsUsed) {
    const Machine machine;
    machine.put("proc/self/cgroup", "0::/\n");
    machine.put("sys/fs/cgroup/memory.max", "100\n");
    machine.put("sys/fs/cgroup/memory.current", "200\n");
    EXPECT_EQ(machine.left().bytes, 0u);
}

// The process's own limits are not shared with others.
TEST(MachineMemory, LimitsOfTheProcess) {
    const Machine machine;
    machine.put("proc/self/status", "VmSize: 1048576 kB\nVmData: 524288 kB\n");
    const auto left_with = [&](auto resource, rlim_t bytes) {
        rlimit before{};
        EXPECT_EQ(::getrlimit(resource, &before), 0);
        const rlimit limit{bytes, before.rlim_max};
        EXPECT_EQ(::setrlimit(resource, &limit), 0);
        MemoryLeft left = machine.left(2);
        EXPECT_EQ(::setrlimit(resource, &before), 0);
        return left;
    };
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    EXPECT_EQ(left_with(RLIMIT_AS, 4 * gibibyte).bytes, 3 * gibibyte);
    EXPECT_EQ(left_with(RLIMIT_AS, 4 * gibibyte).usable(), 3 * gibibyte - (64u << 20));
    EXPECT_EQ(left_with(RLIMIT_AS, 4 * gibibyte).bound, "the limit of address space (ulimit -v)");
#endif
    EXPECT_EQ(left_with(RLIMIT_DATA, 2 * gibibyte).bytes, 3 * gibibyte / 2);
    EXPECT_EQ(left_with(RLIMIT_DATA, 2 * gibibyte).usable(), 3 * gibibyte / 2 - (64u << 20));
    EXPECT_EQ(left_with(RLIMIT_DATA, 2 * gibibyte).bound, "the limit of data (ulimit -d)");
    EXPECT_EQ(left_with(RLIMIT_DATA, 64 * gibibyte).bytes, 4 * gibibyte);
}

double available_now() {   // bytes
    std::istringstream text(get_text("/proc/meminfo"));
    for (std::string line; std::getline(text, line);)
        if (line.starts_with("MemAvailable:")) return 1024 * std::stod(line.substr(line.find(':') + 1));
    return 0;
}

// Other programs take and give memory meanwhile; a control group or a limit may leave less.
TEST(MachineMemory, OfThisMachine) {
    const double before = available_now();
    const MemoryLeft left = memory_left(1);
    const double after = available_now();
    const auto bytes = static_cast<double>(left.bytes);
    EXPECT_GT(bytes, 0);
    EXPECT_LT(bytes, 1.1 * std::max(before, after));
    if (left.bound == "the machine's free memory") {
        EXPECT_GT(bytes, 0.9 * std::min(before, after));
    }
}

}   // namespace
}   // namespace trainer::test
