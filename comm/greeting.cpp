#include "comm/greeting.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::steady_clock;

// A connection that has not said all of its greeting.
struct Newcomer {
    Socket socket;
    Greeting greeting;
    std::size_t received = 0;
    Deadline expires;

    // Reads what is there. False: it is gone.
    bool read() {
        auto* bytes = reinterpret_cast<std::byte*>(&greeting);
        while (received < sizeof greeting) {
            const ssize_t count = ::recv(socket.descriptor(), bytes + received, sizeof greeting - received, 0);
            if (count > 0)
                received += static_cast<std::size_t>(count);
            else
                return count < 0 && (errno == EAGAIN || errno == EINTR);
        }
        return true;
    }
    bool complete() const { return received == sizeof greeting; }
    // Whether what was read can still become a greeting: strangers are sent away at their first bytes.
    bool plausible() const {
        const Greeting expected;
        return std::memcmp(&greeting.magic, &expected.magic, std::min(received, sizeof expected.magic)) == 0;
    }
};

std::vector<pollfd> waiting_list(const Socket& listener, const std::vector<Newcomer>& newcomers) {
    std::vector<pollfd> list = {{listener.descriptor(), POLLIN, 0}};
    for (const Newcomer& one : newcomers) list.push_back({one.socket.descriptor(), POLLIN, 0});
    return list;
}

}   // namespace

RunToken random_token() {
    RunToken token{};
    const bool filled = ::getrandom(token.data(), token.size(), 0) == static_cast<ssize_t>(token.size());
    require(filled, Exit::system, "the system gives no random numbers: {}", std::strerror(errno));
    return token;
}

std::span<const std::byte> bytes_of(const Greeting& greeting) { return std::as_bytes(std::span(&greeting, 1)); }

void copy_text(char (&to)[64], const std::string& text) {
    const std::size_t length = std::min(text.size(), sizeof to - 1);
    std::memcpy(to, text.data(), length);
    to[length] = 0;
}

bool collect_greetings(const Socket& listener, std::size_t count, Deadline deadline,
                       const std::function<bool(const Greeting&, Socket&)>& admit) {
    std::vector<Newcomer> newcomers;
    while (count > 0) {
        const auto now = steady_clock::now();
        if (now >= deadline) return false;
        std::vector<pollfd> list = waiting_list(listener, newcomers);
        ::poll(list.data(), list.size(), std::min(milliseconds_until(deadline), 200));
        for (Newcomer& one : newcomers) {
            if (!one.read() || !one.plausible() || (!one.complete() && now >= one.expires)) {
                one.socket.close();
            } else if (one.complete()) {
                one.greeting.host[63] = one.greeting.address[63] = one.greeting.key[63] = 0;
                if (count > 0 && admit(one.greeting, one.socket)) --count;
                one.socket.close();   // nothing to close where it was admitted
            }
        }
        std::erase_if(newcomers, [](const Newcomer& one) { return !one.socket.is_open(); });
        for (Socket socket = accept_one(listener); socket.is_open(); socket = accept_one(listener))
            newcomers.push_back({std::move(socket), {}, 0, now + std::chrono::seconds(5)});
    }
    return true;
}

}   // namespace trainer
