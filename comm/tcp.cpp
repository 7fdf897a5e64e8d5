#include "comm/tcp.h"

#include <poll.h>

#include <cstring>

#include "comm/exchange.h"
#include "configs/error.h"

namespace trainer {

namespace {

enum Kind : std::uint32_t { all_to_all_call = 1, all_gather_call, broadcast_call, barrier_call };

const char* name_of_kind(std::uint32_t kind) {
    static constexpr const char* names[] = {"all_to_all", "all_gather", "broadcast", "barrier"};
    return kind >= all_to_all_call && kind <= barrier_call ? names[kind - all_to_all_call] : "no known call";
}

// Both directions to one rank.
struct Line {
    std::size_t rank;
    Sending out;
    Receiving in;
    bool sending = true;
    bool receiving = true;
};

using Sent = std::span<const std::span<const std::byte>>;
using Received = std::span<const std::span<std::byte>>;

class Tcp : public Communicator {
public:
    Tcp(int rank, std::vector<Peer> peers) : rank_(static_cast<std::size_t>(rank)), peers_(std::move(peers)) {}

    int rank() const override { return static_cast<int>(rank_); }
    int size() const override { return static_cast<int>(peers_.size()); }

    void all_to_all(Sent send, Received receive) override { exchange(all_to_all_call, send, receive); }

    void all_gather(std::span<const std::byte> send, Received receive) override {
        const std::vector<std::span<const std::byte>> same(peers_.size(), send);
        exchange(all_gather_call, same, receive);
    }

    // The root deals out parts of the data, which then go from everyone to everyone: no rank sends it all twice.
    void broadcast(std::span<std::byte> data, int root) override {
        const std::vector<std::span<std::byte>> parts = parts_of(data);
        const bool is_root = root == rank();
        std::vector<std::span<const std::byte>> send(peers_.size());
        std::vector<std::span<std::byte>> receive(peers_.size());
        if (is_root) send.assign(parts.begin(), parts.end());
        receive[static_cast<std::size_t>(root)] = parts[rank_];
        exchange(broadcast_call, send, receive);
        exchange(broadcast_call, std::vector<std::span<const std::byte>>(peers_.size(), parts[rank_]), parts);
    }

    void barrier() override {
        exchange(barrier_call, std::vector<std::span<const std::byte>>(peers_.size()),
                 std::vector<std::span<std::byte>>(peers_.size()));
    }

    // Every rank adds up one part of the elements, rank after rank.
    void all_reduce(std::span<float> values) override {
        const std::vector<std::span<float>> parts = parts_of(values);
        std::vector<std::span<const std::byte>> send;
        for (const std::span<float> part : parts) send.push_back(std::as_bytes(part));
        const std::span<float> mine = parts[rank_];
        std::vector<float> arrived(mine.size() * peers_.size());
        std::vector<std::span<std::byte>> receive;
        for (std::size_t rank = 0; rank < peers_.size(); ++rank)
            receive.push_back(std::as_writable_bytes(std::span(arrived).subspan(rank * mine.size(), mine.size())));
        exchange(all_to_all_call, send, receive);
        for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = arrived[i];
        for (std::size_t rank = 1; rank < peers_.size(); ++rank)
            for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += arrived[rank * mine.size() + i];
        for (std::size_t rank = 0; rank < peers_.size(); ++rank) receive[rank] = std::as_writable_bytes(parts[rank]);
        exchange(all_gather_call, std::vector<std::span<const std::byte>>(peers_.size(), std::as_bytes(mine)), receive);
    }

    std::string name_of(int rank) const override { return peers_[static_cast<std::size_t>(rank)].name(rank); }
    void abandon(int, const std::string&) noexcept override {}

private:
    // One part for every rank; together the whole.
    template <typename Element>
    std::vector<std::span<Element>> parts_of(std::span<Element> whole) const {
        std::vector<std::span<Element>> parts;
        const std::size_t each = (whole.size() + peers_.size() - 1) / peers_.size();
        for (std::size_t rank = 0; rank < peers_.size(); ++rank) {
            const std::size_t begin = std::min(rank * each, whole.size());
            parts.push_back(whole.subspan(begin, std::min(each, whole.size() - begin)));
        }
        return parts;
    }

    void exchange(Kind kind, Sent send, Received receive) {
        ++call_;
        check(send.size() == peers_.size() && receive.size() == peers_.size(), "{}: {} and {} buffers for {} ranks",
              name_of_kind(kind), send.size(), receive.size(), peers_.size());
        check(send[rank_].size() == receive[rank_].size(), "{}: {} bytes for oneself are sent, {} received",
              name_of_kind(kind), send[rank_].size(), receive[rank_].size());
        std::vector<Line> lines;
        for (std::size_t step = 1; step < peers_.size(); ++step) {   // not all at rank 0 first
            const std::size_t rank = (rank_ + step) % peers_.size();
            const Socket& socket = peers_[rank].socket;
            lines.push_back({rank, Sending(socket, {kind, call_, send[rank].size()}, send[rank]),
                             Receiving(socket, {kind, call_, receive[rank].size()}, receive[rank])});
        }
        bool moving = advance(lines, kind);
        if (!send[rank_].empty() && send[rank_].data() != receive[rank_].data())
            std::memmove(receive[rank_].data(), send[rank_].data(), send[rank_].size());
        while (moving) {
            wait(lines);
            moving = advance(lines, kind);
        }
    }

    // Whether something is left to be done.
    bool advance(std::vector<Line>& lines, Kind kind) {
        bool moving = false;
        for (Line& line : lines) {
            if (line.sending) line.sending = one_step(line.out, line, kind);
            if (line.receiving) line.receiving = one_step(line.in, line, kind);
            if (line.in.contradicts()) explain(line, kind);
            moving = moving || line.sending || line.receiving;
        }
        return moving;
    }

    template <typename Direction>
    bool one_step(Direction& direction, const Line& line, Kind kind) {
        const Transfer transfer = direction.advance();
        require(transfer != Transfer::lost, Exit::peer_lost, "{} closed its connection during {} {}",
                name_of(static_cast<int>(line.rank)), name_of_kind(kind), call_);
        return transfer == Transfer::moving;
    }

    [[noreturn]] void explain(const Line& line, Kind kind) const {
        const MessageHead& head = line.in.head();
        fail(Exit::internal, "the ranks differ in what they do: {} is in {} {} with {} bytes for {}, which is in {} {}",
             name_of(static_cast<int>(line.rank)), name_of_kind(head.kind), head.call, head.bytes, name_of(rank()),
             name_of_kind(kind), call_);
    }

    void wait(const std::vector<Line>& lines) {
        std::vector<pollfd> list;
        for (const Line& line : lines) {
            const int events = (line.sending ? POLLOUT : 0) | (line.receiving ? POLLIN : 0);
            if (events != 0) list.push_back({peers_[line.rank].socket.descriptor(), static_cast<short>(events), 0});
        }
        ::poll(list.data(), list.size(), -1);   // EINTR: only tries again earlier
    }

    std::size_t rank_;
    std::vector<Peer> peers_;
    std::uint32_t call_ = 0;
};

}   // namespace

std::unique_ptr<Communicator> make_tcp(int rank, std::vector<Peer> peers) {
    return std::make_unique<Tcp>(rank, std::move(peers));
}

}   // namespace trainer
