#pragma once

#include <memory>

#include "comm/communicator.h"
#include "comm/environment.h"

namespace trainer {

// The ranks that this process was started as one of (comm/environment.h), connected and watched; a solo rank when it
// was started on its own. Collective. A launched process ends (killed) with its launcher from now on, so that none
// stays behind. To be called once, from the thread that makes the calls. Errors: those of the environment, of
// meet_ranks (comm/rendezvous.h) and of open_mpi (comm/mpi_module.h).
std::unique_ptr<Communicator> open_communicator(OnLost on_lost);

}   // namespace trainer
