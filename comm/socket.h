#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace trainer {

using Deadline = std::chrono::steady_clock::time_point;

// The descriptor of a TCP socket, closed with its owner. Everything here is non-blocking and not inherited by programs
// that are started.
class Socket {
public:
    Socket() = default;
    explicit Socket(int descriptor) : descriptor_(descriptor) {}
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { close(); }

    int descriptor() const { return descriptor_; }
    bool is_open() const { return descriptor_ >= 0; }
    void close();

private:
    int descriptor_ = -1;
};

struct Address {
    std::string host;   // a name, or an address in digits
    int port = 0;
    std::string text() const;   // "node7:29500"
};

bool is_loopback(const std::string& host);   // "localhost", "127.…", "::1"

// A socket that accepts connections at every interface, or at the loopback alone. Port 0: any free one.
// Errors: unavailable, naming the port.
Socket listen_at(bool loopback_only, int port);
// The same from a descriptor that listens already and was handed down by the launcher. Errors: usage.
Socket adopt_listener(int descriptor);
// The next waiting connection; a closed socket when there is none.
Socket accept_one(const Socket& listener);

enum class Refused { fail, retry };   // what to do when nobody listens (yet)
// Errors: unavailable for a host that has no address; peer_lost, with the system's reason, after the deadline.
Socket connect_to(const Address& address, Deadline deadline, Refused refused);

int port_of(const Socket& socket);
std::string own_host_of(const Socket& socket);   // the address in digits by which the other end knows this one
std::string peer_host_of(const Socket& socket);
std::vector<std::string> interface_addresses();   // of this machine, in digits; the loopback's last
std::string own_host_name();                      // "unknown" where the system does not say

// All bytes or nothing of use: false when the other end is gone or the deadline has passed.
bool send_all(const Socket& socket, std::span<const std::byte> data, Deadline deadline);
bool receive_all(const Socket& socket, std::span<std::byte> data, Deadline deadline);

// poll() for one socket; false after the deadline.
bool wait_for(const Socket& socket, short events, Deadline deadline);
int milliseconds_until(Deadline deadline);   // for poll(): rounded up, never negative

}   // namespace trainer
