// Stands for NCCL where there is no GPU: ranks are processes or threads of one machine that meet at sockets named by
// the unique id. What a group holds has moved when it ends. Every message carries its call's number, kind and bytes, so
// that ranks which do not make the same calls are found; buffers must be the emulated device's. A call whose peer is
// gone never returns, as on a device.
//   FAKE_NCCL_VERSION=RANK:NUMBER     what ncclGetVersion says in the process with the environment's RANK
//   FAKE_NCCL_FAIL=FUNCTION:RANK:N    the rank's n-th call of the function fails with ncclSystemError; of the function
//                                     "async": its n-th group never ends, an asynchronous error is there; "wrong": its
//                                     n-th sum is wrong
//   FAKE_NCCL_LOG=FILE                the numbers of calls are appended to it when a communicator is destroyed
#include <dlfcn.h>
#include <nccl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

struct ncclComm {
    int rank = 0;
    int size = 0;
    std::vector<int> sockets;   // by rank
    std::uint64_t calls = 0;    // groups and sums
    std::uint64_t sent_bytes = 0;
    bool alive = true;
    std::atomic<ncclResult_t> async{ncclSuccess};
};

namespace {

struct Head {
    std::uint64_t kind;   // 0: sent, 1: summed
    std::uint64_t call;
    std::uint64_t bytes;
    friend bool operator==(const Head&, const Head&) = default;
};

struct Operation {
    enum class Kind { send, receive } kind;
    void* data;
    std::uint64_t bytes;
    int peer;
};

thread_local int depth = 0;
thread_local ncclComm* group_of = nullptr;
thread_local std::vector<Operation> queued;
thread_local std::string last_error;

// Device memory is open while it lives.
struct OpenMemory {
    OpenMemory() { set(true); }
    ~OpenMemory() { set(false); }
    static void set(bool open) {
        static const auto function =
            reinterpret_cast<void (*)(bool)>(::dlsym(RTLD_DEFAULT, "trainer_emulator_open_memory"));
        if (function) function(open);
    }
};

bool on_device(const void* data, std::uint64_t bytes) {
    static const auto function =
        reinterpret_cast<bool (*)(const void*, std::size_t)>(::dlsym(RTLD_DEFAULT, "trainer_emulator_has"));
    return !function || function(data, bytes);
}

ncclResult_t wrong(ncclResult_t status, const std::string& what) {
    last_error = what;
    return status;
}

[[noreturn]] void wait_for_ever() {
    for (;;) ::pause();
}

// Whether this call is the one that FAKE_NCCL_FAIL names.
bool must_fail(const std::string& function, int rank) {
    static std::mutex mutex;
    static std::map<std::string, int> calls;
    const char* const told = std::getenv("FAKE_NCCL_FAIL");
    if (!told) return false;
    const std::lock_guard lock(mutex);
    const std::string name = function + ":" + std::to_string(rank);
    return told == name + ":" + std::to_string(++calls[name]);
}

bool send_all(int socket, const void* data, std::uint64_t bytes) {
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t count = ::send(socket, from, bytes, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        from += count;
        bytes -= static_cast<std::uint64_t>(count);
    }
    return true;
}

bool receive_all(int socket, void* data, std::uint64_t bytes) {
    auto* to = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t count = ::recv(socket, to, bytes, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        to += count;
        bytes -= static_cast<std::uint64_t>(count);
    }
    return true;
}

ncclResult_t receive_message(ncclComm& comm, int peer, const Head& expected, void* data) {
    const int socket = comm.sockets[static_cast<std::size_t>(peer)];
    Head head{};
    if (!receive_all(socket, &head, sizeof head)) wait_for_ever();
    if (head != expected)
        return wrong(ncclInvalidUsage, "rank " + std::to_string(peer) + " is in call " + std::to_string(head.call) +
                                           " of kind " + std::to_string(head.kind) + " with " +
                                           std::to_string(head.bytes) + " bytes, rank " + std::to_string(comm.rank) +
                                           " in call " + std::to_string(expected.call) + " of kind " +
                                           std::to_string(expected.kind) + " with " + std::to_string(expected.bytes));
    if (!receive_all(socket, data, head.bytes)) wait_for_ever();
    return ncclSuccess;
}

// Sends go in threads of their own, one a peer, so that no order of calls can block.
ncclResult_t move(ncclComm& comm, std::uint64_t kind, const std::vector<Operation>& operations) {
    const OpenMemory open;
    const std::uint64_t call = ++comm.calls;
    std::vector<std::thread> senders;
    for (int peer = 0; peer < comm.size; ++peer)
        senders.emplace_back([&, peer] {
            for (const Operation& one : operations) {
                if (one.kind != Operation::Kind::send || one.peer != peer) continue;
                const int socket = comm.sockets[static_cast<std::size_t>(peer)];
                const Head head{kind, call, one.bytes};
                if (!send_all(socket, &head, sizeof head) || !send_all(socket, one.data, one.bytes)) wait_for_ever();
            }
        });
    ncclResult_t status = ncclSuccess;
    for (const Operation& one : operations) {
        if (one.kind == Operation::Kind::send) comm.sent_bytes += one.bytes;
        if (one.kind == Operation::Kind::receive && status == ncclSuccess)
            status = receive_message(comm, one.peer, {kind, call, one.bytes}, one.data);
    }
    for (std::thread& sender : senders) sender.join();
    return status;
}

ncclResult_t end_group() {
    ncclComm& comm = *std::exchange(group_of, nullptr);
    const std::vector<Operation> operations = std::exchange(queued, {});
    if (must_fail("async", comm.rank)) {
        comm.async = ncclRemoteError;
        wait_for_ever();
    }
    return move(comm, 0, operations);
}

std::uint64_t size_of(ncclDataType_t type) { return type == ncclFloat ? 4 : type == ncclUint8 ? 1 : 0; }

ncclResult_t queue(Operation::Kind kind, void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm* comm) {
    if (!comm || !comm->alive) return wrong(ncclInvalidArgument, "the communicator is not alive");
    if (peer < 0 || peer >= comm->size || peer == comm->rank)
        return wrong(ncclInvalidArgument, "rank " + std::to_string(peer) + " cannot be the other end");
    if (size_of(type) == 0) return wrong(ncclInvalidArgument, "a type that is not known here");
    if (!on_device(data, count * size_of(type))) return wrong(ncclInvalidArgument, "the buffer is not the device's");
    if (group_of && group_of != comm) return wrong(ncclInvalidUsage, "a group of two communicators");
    group_of = comm;
    queued.push_back({kind, data, count * size_of(type), peer});
    return depth > 0 ? ncclSuccess : end_group();
}

sockaddr_un address_of(const ncclUniqueId& id, int rank, socklen_t& length) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const int size = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%.40s/%d", id.internal, rank);
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(size));
    return address;
}

int connect_to(const ncclUniqueId& id, int rank) {
    socklen_t length = 0;
    const sockaddr_un address = address_of(id, rank, length);
    for (int tries = 0; tries < 3000; ++tries) {
        const int one = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(one, reinterpret_cast<const sockaddr*>(&address), length) == 0) return one;
        ::close(one);
        ::poll(nullptr, 0, 20);
    }
    return -1;
}

void close_all(ncclComm& comm) {
    comm.alive = false;
    for (const int socket : comm.sockets)
        if (socket >= 0) ::close(socket);
    comm.sockets.clear();
    if (const char* path = std::getenv("FAKE_NCCL_LOG"))
        if (std::FILE* file = std::fopen(path, "a")) {
            std::fprintf(file, "rank %d: %llu calls, %llu bytes\n", comm.rank,
                         static_cast<unsigned long long>(comm.calls), static_cast<unsigned long long>(comm.sent_bytes));
            std::fclose(file);
        }
}

}   // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
    *version = NCCL_VERSION_CODE;
    const char* const told = std::getenv("FAKE_NCCL_VERSION");
    const char* const rank = std::getenv("RANK");
    if (told && rank && std::atoi(told) == std::atoi(rank) && std::strchr(told, ':'))
        *version = std::atoi(std::strchr(told, ':') + 1);
    return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t status) {
    static const char* const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "in progress"};
    return texts[status];
}

#ifndef FAKE_NCCL_IS_OLD
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }
#endif

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    unsigned char random[16];
    if (must_fail("ncclGetUniqueId", 0) || ::getrandom(random, sizeof random, 0) != sizeof random)
        return wrong(ncclSystemError, "no id could be made");
    for (std::size_t i = 0; i < sizeof random; ++i) std::snprintf(id->internal + 2 * i, 3, "%02x", random[i]);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* out, int size, ncclUniqueId id, int rank) {
    if (must_fail("ncclCommInitRank", rank)) return wrong(ncclSystemError, "told to fail");
    if (rank < 0 || rank >= size) return wrong(ncclInvalidArgument, "rank " + std::to_string(rank));
    auto* comm = new ncclComm;
    comm->rank = rank;
    comm->size = size;
    comm->sockets.assign(static_cast<std::size_t>(size), -1);
    socklen_t length = 0;
    const sockaddr_un address = address_of(id, rank, length);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 || ::listen(listener, size) != 0)
        return wrong(ncclSystemError, "two ranks have one number");
    for (int lower = 0; lower < rank; ++lower) {
        const int socket = connect_to(id, lower);
        if (socket < 0 || !send_all(socket, &rank, sizeof rank)) return wrong(ncclSystemError, "a rank did not come");
        comm->sockets[static_cast<std::size_t>(lower)] = socket;
    }
    for (int higher = rank + 1; higher < size; ++higher) {
        const int socket = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        int other = 0;
        if (!receive_all(socket, &other, sizeof other)) wait_for_ever();
        comm->sockets[static_cast<std::size_t>(other)] = socket;
    }
    ::close(listener);
    *out = comm;
    return ncclSuccess;
}

// What is destroyed stays in memory, so that its use is found.
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (!comm || !comm->alive) return wrong(ncclInvalidArgument, "the communicator is not alive");
    if (depth > 0) return wrong(ncclInvalidUsage, "a group is open");
    close_all(*comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    if (!comm || !comm->alive) return wrong(ncclInvalidArgument, "the communicator is not alive");
    close_all(*comm);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
    if (!comm || !comm->alive) return wrong(ncclInvalidArgument, "the communicator is not alive");
    *error = comm->async;
    return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
    ++depth;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
    if (depth == 0) return wrong(ncclInvalidUsage, "no group was begun");
    if (--depth > 0 || !group_of) return ncclSuccess;
    if (must_fail("ncclGroupEnd", group_of->rank)) return wrong(ncclSystemError, "told to fail");
    return end_group();
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t) {
    return queue(Operation::Kind::send, const_cast<void*>(data), count, type, peer, comm);
}

ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t) {
    return queue(Operation::Kind::receive, data, count, type, peer, comm);
}

// Rank after rank.
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t operation,
                           ncclComm_t comm, cudaStream_t) {
    if (!comm || !comm->alive) return wrong(ncclInvalidArgument, "the communicator is not alive");
    if (type != ncclFloat || operation != ncclSum) return wrong(ncclInvalidArgument, "only sums of floats");
    if (depth > 0) return wrong(ncclInvalidUsage, "sums in groups are not known here");
    if (!on_device(from, count * 4) || !on_device(to, count * 4))
        return wrong(ncclInvalidArgument, "the buffer is not the device's");
    if (must_fail("ncclAllReduce", comm->rank)) return wrong(ncclSystemError, "told to fail");
    const OpenMemory open;
    std::vector<std::vector<float>> values(static_cast<std::size_t>(comm->size), std::vector<float>(count));
    const auto own = static_cast<std::size_t>(comm->rank);
    std::memcpy(values[own].data(), from, count * 4);
    std::vector<Operation> operations;
    for (int peer = 0; peer < comm->size; ++peer) {
        if (peer == comm->rank) continue;
        operations.push_back({Operation::Kind::send, values[own].data(), count * 4, peer});
        operations.push_back(
            {Operation::Kind::receive, values[static_cast<std::size_t>(peer)].data(), count * 4, peer});
    }
    const ncclResult_t status = move(*comm, 1, operations);
    for (std::size_t i = 0; i < count; ++i) {
        float sum = values[0][i];
        for (std::size_t rank = 1; rank < values.size(); ++rank) sum += values[rank][i];
        static_cast<float*>(to)[i] = sum;
    }
    if (must_fail("wrong", comm->rank)) static_cast<float*>(to)[0] += 1;
    return status;
}
}
