#include "comm/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int backlog = 1024;

void set(int descriptor, int level, int option, int value) {
    ::setsockopt(descriptor, level, option, &value, sizeof value);
}

// Small messages leave at once; a peer whose machine vanished is noticed also while nothing is sent.
void set_options(int descriptor) {
    set(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, 2);
    set(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set(descriptor, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

std::string digits_of(const sockaddr* address, socklen_t length) {
    char host[NI_MAXHOST] = "";
    ::getnameinfo(address, length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
    const std::string text = host;
    return text.starts_with("::ffff:") ? text.substr(7) : text;   // IPv4 on a socket of both kinds
}

SocketAddress own_address(const Socket& socket) {
    SocketAddress address;
    ::getsockname(socket.descriptor(), address.get(), &address.length);
    return address;
}

// The socket of the first kind that this machine has: IPv6 (which takes IPv4 too), then IPv4.
Socket bound_socket(bool loopback_only, int port) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_any;
    six.sin6_port = htons(static_cast<std::uint16_t>(port));
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY);
    four.sin_port = htons(static_cast<std::uint16_t>(port));
    if (!loopback_only) {
        Socket socket(::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        set(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, 1);
        set(socket.descriptor(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
        if (::bind(socket.descriptor(), reinterpret_cast<sockaddr*>(&six), sizeof six) == 0) return socket;
        if (errno == EADDRINUSE || errno == EACCES) return {};
    }
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    set(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(socket.descriptor(), reinterpret_cast<sockaddr*>(&four), sizeof four) == 0) return socket;
    return {};
}

// A connection to a free port of the same machine can meet itself.
bool connected_to_itself(const Socket& socket) {
    const SocketAddress mine = own_address(socket);
    SocketAddress peer;
    ::getpeername(socket.descriptor(), peer.get(), &peer.length);
    return mine.length == peer.length && std::memcmp(&mine.storage, &peer.storage, mine.length) == 0;
}

// One attempt; 0 or the system's error number.
int attempt(const addrinfo& target, Deadline deadline, Socket& connected) {
    Socket socket(::socket(target.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket.is_open()) return errno;
    set_options(socket.descriptor());
    if (::connect(socket.descriptor(), target.ai_addr, target.ai_addrlen) != 0) {
        if (errno != EINPROGRESS) return errno;
        if (!wait_for(socket, POLLOUT, deadline)) return ETIMEDOUT;
        int error = 0;
        socklen_t length = sizeof error;
        ::getsockopt(socket.descriptor(), SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) return error;
    }
    if (connected_to_itself(socket)) return ECONNREFUSED;
    connected = std::move(socket);
    return 0;
}

using Targets = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

Targets resolve(const Address& address, Deadline deadline) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    for (;;) {
        addrinfo* found = nullptr;
        const int status = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
        if (status == 0) return {found, &::freeaddrinfo};
        require(status == EAI_AGAIN && steady_clock::now() < deadline, Exit::unavailable,
                "the host \"{}\" has no address: {}; give a name or an address that every host knows", address.host,
                ::gai_strerror(status));
        std::this_thread::sleep_for(milliseconds(200));
    }
}

}   // namespace

Socket::Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
    if (this != &other) {
        close();
        descriptor_ = std::exchange(other.descriptor_, -1);
    }
    return *this;
}

void Socket::close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
}

std::string Address::text() const { return format("{}:{}", host, port); }

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

Socket listen_at(bool loopback_only, int port) {
    Socket socket = bound_socket(loopback_only, port);
    const bool listens = socket.is_open() && ::listen(socket.descriptor(), backlog) == 0;
    require(listens, Exit::unavailable, "rank 0 cannot listen at port {}: {}; choose another with MASTER_PORT", port,
            std::strerror(errno));
    return socket;
}

Socket adopt_listener(int descriptor) {
    int listens = 0;
    socklen_t length = sizeof listens;
    require(::getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens != 0, Exit::usage,
            "TRAINER_LISTEN_FD is {}: not a listening socket; only the launcher of `--nproc` sets it", descriptor);
    ::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    ::fcntl(descriptor, F_SETFL, O_NONBLOCK);
    return Socket(descriptor);
}

Socket accept_one(const Socket& listener) {
    Socket socket(::accept4(listener.descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.is_open()) set_options(socket.descriptor());
    return socket;
}

Socket connect_to(const Address& address, Deadline deadline, Refused refused) {
    int error = 0;
    do {
        const Targets targets = resolve(address, deadline);
        for (const addrinfo* target = targets.get(); target; target = target->ai_next) {
            Socket socket;
            error = attempt(*target, std::min(deadline, steady_clock::now() + std::chrono::seconds(5)), socket);
            if (error == 0) return socket;
        }
        if (refused == Refused::fail) break;
        std::this_thread::sleep_for(std::min(milliseconds(50), milliseconds(milliseconds_until(deadline))));
    } while (steady_clock::now() < deadline);
    fail(Exit::peer_lost, "{} cannot be reached: {}", address.text(), std::strerror(error));
}

int port_of(const Socket& socket) {
    const SocketAddress address = own_address(socket);
    if (address.storage.ss_family == AF_INET6)
        return ntohs(reinterpret_cast<const sockaddr_in6*>(&address.storage)->sin6_port);
    return ntohs(reinterpret_cast<const sockaddr_in*>(&address.storage)->sin_port);
}

std::string own_host_of(const Socket& socket) {
    const SocketAddress address = own_address(socket);
    return digits_of(address.get(), address.length);
}

std::string peer_host_of(const Socket& socket) {
    SocketAddress address;
    ::getpeername(socket.descriptor(), address.get(), &address.length);
    return digits_of(address.get(), address.length);
}

std::vector<std::string> interface_addresses() {
    std::vector<std::string> found;
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) == 0) {
        for (const ifaddrs* one = all; one; one = one->ifa_next) {
            if (!one->ifa_addr || !(one->ifa_flags & IFF_UP) || (one->ifa_flags & IFF_LOOPBACK)) continue;
            if (one->ifa_addr->sa_family == AF_INET)
                found.push_back(digits_of(one->ifa_addr, sizeof(sockaddr_in)));
            else if (one->ifa_addr->sa_family == AF_INET6)
                found.push_back(digits_of(one->ifa_addr, sizeof(sockaddr_in6)));
        }
        ::freeifaddrs(all);
    }
    std::erase_if(found, [](const std::string& host) { return host.find('%') != std::string::npos; });   // link-local
    found.push_back("127.0.0.1");
    return found;
}

std::string own_host_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

int milliseconds_until(Deadline deadline) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
}

bool wait_for(const Socket& socket, short events, Deadline deadline) {
    for (;;) {
        pollfd one{socket.descriptor(), events, 0};
        const int ready = ::poll(&one, 1, milliseconds_until(deadline));
        if (ready > 0) return true;
        if (ready == 0 && steady_clock::now() >= deadline) return false;
        if (ready < 0 && errno != EINTR) return false;
    }
}

bool send_all(const Socket& socket, std::span<const std::byte> data, Deadline deadline) {
    while (!data.empty()) {
        const ssize_t count = ::send(socket.descriptor(), data.data(), data.size(), MSG_NOSIGNAL);
        if (count >= 0)
            data = data.subspan(static_cast<std::size_t>(count));
        else if (errno == EAGAIN ? !wait_for(socket, POLLOUT, deadline) : errno != EINTR)
            return false;
    }
    return true;
}

bool receive_all(const Socket& socket, std::span<std::byte> data, Deadline deadline) {
    while (!data.empty()) {
        const ssize_t count = ::recv(socket.descriptor(), data.data(), data.size(), 0);
        if (count > 0)
            data = data.subspan(static_cast<std::size_t>(count));
        else if (count == 0 || (errno == EAGAIN ? !wait_for(socket, POLLIN, deadline) : errno != EINTR))
            return false;
    }
    return true;
}

}   // namespace trainer
