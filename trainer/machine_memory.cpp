#include "trainer/machine_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>

#include "configs/error.h"

namespace trainer {

namespace fs = std::filesystem;

namespace {

// What is taken without being used: the code of products lies in blocks that are larger than it.
constexpr std::uint64_t unused = 64 << 20;
constexpr std::uint64_t unlimited = std::uint64_t{1} << 60;   // what limits of control groups beyond it stand for

std::optional<std::uint64_t> number_in(const fs::path& file) {
    std::ifstream in(file);
    std::uint64_t value = 0;
    return in >> value ? std::optional(value) : std::nullopt;   // "max" is no number
}

// The number behind a name at the beginning of a line: "MemAvailable:   123 kB", "inactive_file 123".
std::optional<std::uint64_t> number_behind(const fs::path& file, std::string_view name) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        std::istringstream words(line);
        std::string first;
        std::uint64_t value = 0;
        if (words >> first >> value && first == name) return value;
    }
    return std::nullopt;
}

class Least {
public:
    void consider(std::uint64_t limit, std::uint64_t used, std::uint64_t shared_by, const std::string& bound,
                  std::size_t set_apart = 0) {
        const MemoryLeft left{(limit - std::min(limit, used)) / shared_by, bound, set_apart};
        if (left.usable() < least_.usable()) least_ = left;
    }
    const MemoryLeft& get() const { return least_; }

private:
    MemoryLeft least_{std::numeric_limits<std::size_t>::max(), "", 0};
};

struct GroupFiles {
    const char* limit;
    const char* used;
    const char* cache;   // in memory.stat
};
constexpr GroupFiles version_1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};
constexpr GroupFiles version_2{"memory.max", "memory.current", "inactive_file"};

// A control group and all around it. Inside a container its path may not be visible; then the mount is its own group.
void consider_groups(const fs::path& mount, const std::string& path, const GroupFiles& files, std::uint64_t shared_by,
                     Least& least) {
    for (fs::path group = fs::path(path).relative_path();; group = group.parent_path()) {
        const fs::path folder = mount / group;
        const auto limit = number_in(folder / files.limit);
        const auto used = number_in(folder / files.used);
        if (limit && used && *limit < unlimited)
            least.consider(*limit,
                           *used - std::min(*used, number_behind(folder / "memory.stat", files.cache).value_or(0)),
                           shared_by, format("the limit of the control group in {}", (folder / files.limit).string()));
        if (group.empty()) return;
    }
}

// Lines are "number:controllers:path"; version 2 has no controllers.
void consider_control_groups(const fs::path& root, std::uint64_t shared_by, Least& least) {
    const fs::path mount = root / "sys/fs/cgroup";
    std::ifstream in(root / "proc/self/cgroup");
    for (std::string line; std::getline(in, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string path = line.substr(second + 1);
        if (controllers == ",,") {
            consider_groups(mount, path, version_2, shared_by, least);
            consider_groups(mount / "unified", path, version_2, shared_by, least);
        } else if (controllers.find(",memory,") != std::string::npos) {
            consider_groups(mount / "memory", path, version_1, shared_by, least);
        }
    }
}

void consider_own_limit(int resource, std::uint64_t used, const char* bound, std::size_t set_apart, Least& least) {
    rlimit limit{};
    if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    least.consider(limit.rlim_cur, used, 1, bound, set_apart);
}

}   // namespace

MemoryLeft memory_left(int processes, const fs::path& root) {
    const auto shared_by = static_cast<std::uint64_t>(std::max(processes, 1));
    Least least;
    if (const auto available = number_behind(root / "proc/meminfo", "MemAvailable:"))
        least.consider(*available << 10, 0, shared_by, "the machine's free memory");
    consider_control_groups(root, shared_by, least);
    const fs::path status = root / "proc/self/status";
    const auto used = [&](std::string_view name) { return number_behind(status, name).value_or(0) << 10; };
    consider_own_limit(RLIMIT_AS, used("VmSize:"), "the limit of address space (ulimit -v)", unused, least);
    consider_own_limit(RLIMIT_DATA, used("VmData:"), "the limit of data (ulimit -d)", unused, least);
    return least.get();
}

}   // namespace trainer
