#include "comm/watch_meeting.h"

#include <algorithm>
#include <cstring>

#include "comm/greeting.h"
#include "comm/rendezvous.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr int most_hosts = 16;
constexpr std::byte welcome{'w'};

// Where rank 0 can be reached.
struct Offer {
    RunToken token{};
    std::int32_t port = 0;
    std::int32_t count = 0;
    char hosts[most_hosts][64] = {};
};

Offer make_offer(const std::string& host, int port) {
    Offer offer;
    offer.token = random_token();
    offer.port = port;
    std::vector<std::string> hosts = interface_addresses();
    if (!host.empty()) hosts.insert(hosts.begin(), host);
    offer.count = std::min(static_cast<int>(hosts.size()), most_hosts);
    for (int i = 0; i < offer.count; ++i) copy_text(offer.hosts[i], hosts[static_cast<std::size_t>(i)]);
    return offer;
}

std::vector<WatchLink> accept_all(const Communicator& ranks, const Socket& listener, const RunToken& token) {
    std::vector<WatchLink> links;
    const auto known = [&](int rank) {
        return std::any_of(links.begin(), links.end(), [&](const WatchLink& link) { return link.rank() == rank; });
    };
    const auto admit = [&](const Greeting& greeting, Socket& socket) {
        if (greeting.token != token || greeting.rank < 1 || greeting.rank >= ranks.size() || known(greeting.rank))
            return false;
        send_all(socket, std::span(&welcome, 1), steady_clock::now() + seconds(1));
        links.emplace_back(greeting.rank, std::move(socket));
        return true;
    };
    const auto count = static_cast<std::size_t>(ranks.size() - 1);
    if (collect_greetings(listener, count, steady_clock::now() + meeting_limit, admit)) return links;
    std::vector<std::string> missing;
    for (int rank = 1; rank < ranks.size(); ++rank)
        if (!known(rank)) missing.push_back(ranks.name_of(rank));
    fail(Exit::peer_lost, "no connection to {} from {} within {} s; can their hosts reach this one?", ranks.name_of(0),
         join(missing), static_cast<int>(meeting_limit.count()));
}

// One attempt at one address: what answers there may be another machine.
Socket call(const Address& address, const Greeting& greeting) {
    try {
        Socket socket = connect_to(address, steady_clock::now() + seconds(3), Refused::fail);
        std::byte answer{};
        const Deadline deadline = steady_clock::now() + seconds(5);
        if (send_all(socket, bytes_of(greeting), deadline) && receive_all(socket, std::span(&answer, 1), deadline) &&
            answer == welcome)
            return socket;
    } catch (const Error&) {   // the next address may do
    }
    return {};
}

WatchLink call_root(const Communicator& ranks, const Offer& offer) {
    Greeting greeting;
    greeting.rank = ranks.rank();
    greeting.size = ranks.size();
    greeting.token = offer.token;
    std::vector<std::string> tried;
    const Deadline deadline = steady_clock::now() + meeting_limit;
    do {
        tried.clear();
        for (int i = 0; i < offer.count; ++i) {
            const Address address{offer.hosts[i], offer.port};
            tried.push_back(address.text());
            Socket socket = call(address, greeting);
            if (socket.is_open()) return {0, std::move(socket)};
        }
    } while (steady_clock::now() < deadline);
    fail(Exit::peer_lost, "{} cannot be reached from {} at any of its addresses: {}", ranks.name_of(0),
         ranks.name_of(ranks.rank()), join(tried));
}

}   // namespace

std::vector<WatchLink> connect_watches(Communicator& ranks, const std::string& host) {
    Offer offer;
    Socket listener;
    if (ranks.rank() == 0) {
        listener = listen_at(is_loopback(host), 0);
        offer = make_offer(host, port_of(listener));
    }
    ranks.broadcast(std::as_writable_bytes(std::span(&offer, 1)), 0);
    if (ranks.rank() == 0) return accept_all(ranks, listener, offer.token);
    std::vector<WatchLink> links;
    links.push_back(call_root(ranks, offer));
    return links;
}

}   // namespace trainer
