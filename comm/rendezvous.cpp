#include "comm/rendezvous.h"

#include <unistd.h>

#include <cstring>

#include "comm/greeting.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// What rank 0 answers: the table of all greetings follows, or the reason why not.
struct Answer {
    RunToken token{};
    std::uint32_t refused = 0;   // an exit code
    char reason[512] = {};
};

template <typename Record>
std::span<const std::byte> bytes_of(const Record& record) {
    return std::as_bytes(std::span(&record, 1));
}

template <typename Record>
std::span<std::byte> writable_bytes_of(Record& record) {
    return std::as_writable_bytes(std::span(&record, 1));
}

std::string name_in(const Greeting& greeting) {
    return format("rank {} ({}, process {})", greeting.rank, greeting.host, greeting.process);
}

Greeting own_greeting(const Launched& launched, int port) {
    Greeting greeting;
    greeting.rank = launched.rank;
    greeting.size = launched.size;
    greeting.port = port;
    greeting.process = ::getpid();
    copy_text(greeting.host, own_host_name());
    copy_text(greeting.key, launched.key);
    return greeting;
}

std::string seconds_text(milliseconds limit) { return format("{} s", static_cast<double>(limit.count()) / 1000); }

class Meeting {
public:
    Meeting(const Launched& launched, milliseconds limit)
        : launched_(launched), limit_(limit), deadline_(steady_clock::now() + limit) {
        const auto size = static_cast<std::size_t>(launched.size);
        table_.resize(size);
        sockets_.resize(size);
    }

    std::vector<Peer> meet() {
        if (launched_.rank == 0)
            gather();
        else
            come();
        std::vector<Peer> peers;
        for (std::size_t rank = 0; rank < table_.size(); ++rank)
            peers.push_back({table_[rank].host, table_[rank].process, std::move(sockets_[rank])});
        return peers;
    }

private:
    bool present(int rank) const { return sockets_[static_cast<std::size_t>(rank)].is_open(); }

    // Names of the ranks in [from, size) that have not come.
    std::string missing(int from) const {
        std::vector<std::string> ranks;
        for (int rank = from; rank < launched_.size; ++rank)
            if (!present(rank)) ranks.push_back(std::to_string(rank));
        return (ranks.size() == 1 ? "rank " : "ranks ") + join(ranks);
    }

    // Rank 0.

    void gather() {
        const Socket listener = launched_.listener >= 0 ? adopt_listener(launched_.listener)
                                                        : listen_at(is_loopback(launched_.address), launched_.port);
        table_[0] = own_greeting(launched_, launched_.port);
        const bool complete =
            collect_greetings(listener, table_.size() - 1, deadline_,
                              [this](const Greeting& greeting, Socket& socket) { return admit(greeting, socket); });
        if (!complete)
            refuse_all(
                Exit::peer_lost,
                format("{} of {} did not come to rank 0 ({}, port {}) within {}; are they running, and does every "
                       "host reach {}?",
                       missing(1), launched_.size, table_[0].host, port_of(listener), seconds_text(limit_),
                       launched_.address));
        Answer answer;
        answer.token = random_token();
        for (int rank = 1; rank < launched_.size; ++rank) {
            const Socket& socket = sockets_[static_cast<std::size_t>(rank)];
            require(send_all(socket, bytes_of(answer), deadline_) &&
                        send_all(socket, std::as_bytes(std::span(table_)), deadline_),
                    Exit::peer_lost, "{} was lost while the ranks were meeting",
                    name_in(table_[static_cast<std::size_t>(rank)]));
        }
    }

    bool admit(const Greeting& greeting, Socket& socket) {
        if (std::strcmp(greeting.key, table_[0].key) != 0) return false;   // of another launch
        if (greeting.version != table_[0].version)
            return refuse(greeting, socket, "is another version of this program than rank 0; run the same everywhere");
        if (greeting.size != launched_.size)
            return refuse(greeting, socket,
                          format("was started as one of {} ranks but rank 0 as one of {}; check WORLD_SIZE",
                                 greeting.size, launched_.size));
        if (greeting.rank < 1 || greeting.rank >= launched_.size || present(greeting.rank))
            return refuse(greeting, socket, "has a number that another process has too; check RANK");
        const auto rank = static_cast<std::size_t>(greeting.rank);
        table_[rank] = greeting;
        copy_text(table_[rank].address, peer_host_of(socket));
        sockets_[rank] = std::move(socket);
        return true;
    }

    bool refuse(const Greeting& greeting, Socket& socket, const std::string& reason) {
        const std::string text = name_in(greeting) + " " + reason;
        answer_no(socket, Exit::usage, text);
        refuse_all(Exit::usage, text);
    }

    void answer_no(const Socket& socket, Exit code, const std::string& reason) const {
        Answer answer;
        answer.refused = static_cast<std::uint32_t>(code);
        std::strncpy(answer.reason, reason.c_str(), sizeof answer.reason - 1);
        send_all(socket, bytes_of(answer), steady_clock::now() + milliseconds(200));
    }

    [[noreturn]] void refuse_all(Exit code, const std::string& reason) const {
        for (const Socket& socket : sockets_)
            if (socket.is_open()) answer_no(socket, code, reason);
        fail(code, "{}", reason);
    }

    // The other ranks.

    void come() {
        const Socket listener = listen_at(is_loopback(launched_.address), 0);
        Socket to_root = call_root();
        const Greeting greeting = own_greeting(launched_, port_of(listener));
        Answer answer;
        if (!send_all(to_root, bytes_of(greeting), deadline_) ||
            !receive_all(to_root, writable_bytes_of(answer), deadline_))
            fail(Exit::peer_lost,
                 "rank {} was not taken in by rank 0 at {}:{}: rank 0 ended, waits for another run, or not all ranks "
                 "came "
                 "within {}",
                 launched_.rank, launched_.address, launched_.port, seconds_text(limit_));
        answer.reason[sizeof answer.reason - 1] = 0;
        require(answer.refused == 0, static_cast<Exit>(answer.refused), "{}", answer.reason);
        require(receive_all(to_root, std::as_writable_bytes(std::span(table_)), deadline_), Exit::peer_lost,
                "rank 0 at {}:{} ended while the ranks were meeting", launched_.address, launched_.port);
        sockets_[0] = std::move(to_root);
        call_lower(answer.token);
        await_higher(listener, answer.token);
    }

    Socket call_root() const {
        try {
            return connect_to({launched_.address, launched_.port}, deadline_, Refused::retry);
        } catch (const Error& error) {
            fail(error.code(), "rank {} finds no rank 0 within {}: {}; check MASTER_ADDR, MASTER_PORT and firewalls",
                 launched_.rank, seconds_text(limit_), error.what());
        }
    }

    void call_lower(const RunToken& token) {
        Greeting greeting = own_greeting(launched_, 0);
        greeting.token = token;
        for (int rank = 1; rank < launched_.rank; ++rank) {
            const Greeting& other = table_[static_cast<std::size_t>(rank)];
            Socket socket = connect_to({other.address, other.port}, deadline_, Refused::fail);
            require(send_all(socket, bytes_of(greeting), deadline_), Exit::peer_lost,
                    "{} was lost while the ranks were meeting", name_in(other));
            sockets_[static_cast<std::size_t>(rank)] = std::move(socket);
        }
    }

    void await_higher(const Socket& listener, const RunToken& token) {
        const auto expected = static_cast<std::size_t>(launched_.size - 1 - launched_.rank);
        const bool complete =
            collect_greetings(listener, expected, deadline_, [&](const Greeting& greeting, Socket& socket) {
                if (greeting.token != token || greeting.rank <= launched_.rank || greeting.rank >= launched_.size ||
                    present(greeting.rank))
                    return false;
                sockets_[static_cast<std::size_t>(greeting.rank)] = std::move(socket);
                return true;
            });
        require(complete, Exit::peer_lost, "{} did not call rank {} ({}) within {}; can their hosts reach this one?",
                missing(launched_.rank + 1), launched_.rank, own_host_name(), seconds_text(limit_));
    }

    const Launched& launched_;
    milliseconds limit_;
    Deadline deadline_;
    std::vector<Greeting> table_;
    std::vector<Socket> sockets_;
};

}   // namespace

std::string Peer::name(int rank) const { return format("rank {} ({}, process {})", rank, host, process); }

std::vector<Peer> meet_ranks(const Launched& launched, milliseconds limit) { return Meeting(launched, limit).meet(); }

}   // namespace trainer
