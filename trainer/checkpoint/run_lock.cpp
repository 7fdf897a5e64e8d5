#include "trainer/checkpoint/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <random>
#include <span>

#include "comm/socket.h"
#include "configs/error.h"
#include "configs/json.h"

namespace trainer {

namespace {

// Who holds the lock of a run's folder.
struct LockHolder {
    std::string host;
    std::int64_t process = 0;
    std::string started;   // "2026-01-31T23:59:59Z"
    std::string run_id;
};

std::string now() {
    const std::time_t time = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

std::string text_of(const LockHolder& holder) {
    Node node;
    node.set("host", holder.host);
    node.set("process", holder.process);
    node.set("started", holder.started);
    node.set("run_id", holder.run_id);
    return to_json(node) + "\n";
}

// What the lock file says; nothing when it is empty or damaged, for it is no more than a hint.
std::optional<LockHolder> holder_in(const OpenFile& file) {
    constexpr std::uint64_t longest = 4096;
    try {
        std::string text(std::min(file.size(), longest), '\0');
        file.read_at(0, std::as_writable_bytes(std::span(text.data(), text.size())));
        const Node node = parse_json(text, file.name());
        return LockHolder{node.at("host").as_string(), node.at("process").as_integer(), node.at("started").as_string(),
                          node.at("run_id").as_string()};
    } catch (const Error&) {
        return {};
    }
}

[[noreturn]] void refuse(const std::filesystem::path& folder, const std::optional<LockHolder>& holder,
                         const std::string& key) {
    if (!holder)
        fail(Exit::cannot_create, "{}: {} is in use by another run; wait for it or choose another folder", key,
             folder.string());
    fail(Exit::cannot_create,
         "{}: {} is in use by another run: process {} on {}, started {}, run {}; wait for it, stop it, or choose "
         "another folder",
         key, folder.string(), holder->process, holder->host, holder->started, holder->run_id);
}

// Whether the path still names the open file: the run before may have removed it between our open and our lock.
bool is_at(const OpenFile& file, const std::filesystem::path& path) {
    struct stat open {};
    struct stat named {};
    return ::fstat(file.number(), &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
           open.st_dev == named.st_dev;
}

}   // namespace

std::string new_run_id() {
    std::random_device random;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (int i = 0; i < 16; ++i) text += digits[random() % 16];
    return text;
}

RunLock::RunLock(const std::filesystem::path& folder, const std::string& run_id, const std::string& key)
    : folder_(folder), path_(folder / file_name) {
    while (true) {
        file_ = OpenFile(path_, O_RDWR | O_CREAT | O_NOFOLLOW);
        if (::flock(file_.number(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EINTR) continue;
            if (errno == EWOULDBLOCK) refuse(folder_, holder_in(file_), key);
            fail(Exit::cannot_create, "{}: cannot be locked: {}; put {} on a file system with locks", path_.string(),
                 std::strerror(errno), key);
        }
        if (is_at(file_, path_)) break;
    }
    const std::string text = text_of({own_host_name(), ::getpid(), now(), run_id});
    file_.truncate();
    file_.write_at(0, std::as_bytes(std::span(text.data(), text.size())));
}

RunLock::~RunLock() { ::unlink(path_.c_str()); }

}   // namespace trainer
