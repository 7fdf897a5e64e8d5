#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "comm/environment.h"
#include "comm/socket.h"

namespace trainer {

// Another rank of the run, or this one (which has no socket).
struct Peer {
    std::string host;
    int process = 0;
    Socket socket;                      // connected
    std::string name(int rank) const;   // "rank 1 (node7, process 4242)"
};

constexpr std::chrono::seconds meeting_limit{60};

// Connects every rank with every other: rank 0 listens at launched.address:port, the others tell it where they listen,
// it hands out that table and a random token, and every rank then calls those below it. Connections that are not of
// this run are closed and otherwise ignored. launched.by must be sockets, its size above 1.
// Errors: peer_lost with the ranks that did not come within the limit; unavailable for a port that is taken and a host
// without address; usage where ranks contradict each other or are of another version of the program.
std::vector<Peer> meet_ranks(const Launched& launched, std::chrono::milliseconds limit = meeting_limit);

}   // namespace trainer
