#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/watch_link.h"

namespace trainer {

// The links of a watch: rank 0's to every other rank, or another rank's to rank 0. Collective. `host`: how the others
// reach rank 0, tried first; may be empty. Errors: peer_lost.
std::vector<WatchLink> connect_watches(Communicator& ranks, const std::string& host);

}   // namespace trainer
