#include "comm/open.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "comm/mpi_module.h"
#include "comm/rendezvous.h"
#include "comm/solo.h"
#include "comm/tcp.h"
#include "comm/watched.h"
#include "configs/error.h"

namespace trainer {

namespace {

void end_with_the_launcher() {
    const pid_t launcher = ::getppid();
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != launcher) ::_exit(static_cast<int>(Exit::peer_lost));   // it ended before the system knew
}

std::unique_ptr<Communicator> connect(const Launched& launched) {
    if (launched.by == Launched::By::sockets) return make_tcp(launched.rank, meet_ranks(launched));
    std::unique_ptr<Communicator> ranks = open_mpi();
    require(ranks->rank() == launched.rank && ranks->size() == launched.size, Exit::system,
            "the environment says rank {} of {}, MPI says rank {} of {}: the launcher belongs to another MPI than {}",
            launched.rank, launched.size, ranks->rank(), ranks->size(), "trainer_mpi.so");
    return ranks;
}

}   // namespace

std::unique_ptr<Communicator> open_communicator(OnLost on_lost) {
    const std::optional<Launched> launched = launched_from_environment();
    if (!launched) return make_solo();
    end_with_the_launcher();
    if (launched->size == 1) return make_solo();
    return watched(connect(*launched), launched->address, std::move(on_lost));
}

}   // namespace trainer
