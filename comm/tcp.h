#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "comm/rendezvous.h"

namespace trainer {

// Ranks over a full mesh of sockets: every pair of ranks has a connection, all of them move at the same time. `peers`
// as meet_ranks gives them. Does not watch the ranks (comm/watch.h does): a lost one is noticed by a call that needs
// it; abandon does nothing.
// Errors besides the contract's: internal where ranks make different calls, or sizes do not agree.
std::unique_ptr<Communicator> make_tcp(int rank, std::vector<Peer> peers);

}   // namespace trainer
