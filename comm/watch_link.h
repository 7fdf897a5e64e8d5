#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/socket.h"

namespace trainer {

// What watches tell each other.
struct Note {
    enum class Kind : std::uint32_t {
        heartbeat = 1,
        goodbye,
        abandon,
        verdict,
        farewell
    };   // farewell: rank 0 has heard all goodbyes
    Kind kind = Kind::heartbeat;
    int code = 0;              // abandon, verdict: the exit code
    std::uint64_t calls = 0;   // heartbeat, goodbye: collective calls that the sender has entered
    std::string text;          // abandon, verdict: the reason
};

// The connection of one watch to another, and what is known of the rank at its other end.
class WatchLink {
public:
    WatchLink(int rank, Socket socket);

    int rank() const { return rank_; }
    const Socket& socket() const { return socket_; }
    bool is_open() const { return socket_.is_open(); }
    void close() { socket_.close(); }

    // What does not leave before the deadline is dropped: a peer that takes nothing will be found silent.
    void write(const Note& note, Deadline deadline);
    // All that has come, without waiting. Closes the link at its end.
    std::vector<Note> read();

    Deadline heard;                      // when the last byte came
    std::uint64_t calls = 0;             // that the peer has entered
    std::optional<std::uint64_t> left;   // the peer has said goodbye, after so many calls

private:
    int rank_;
    Socket socket_;
    std::vector<std::byte> pending_;   // a part of a note
};

}   // namespace trainer
