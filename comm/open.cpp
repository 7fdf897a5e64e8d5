#include "comm/open.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "comm/mpi_module.h"
#include "comm/rendezvous.h"
#include "comm/solo.h"
#include "comm/start_guard.h"
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

constexpr timespec grace{0, 600'000'000};
timer_t second_termination;

extern "C" void postpone_termination(int) {
    std::signal(SIGTERM, SIG_DFL);
    const itimerspec once{{0, 0}, grace};
    ::timer_settime(second_termination, 0, &once, nullptr);
}

// mpirun answers the loss of a rank with SIGTERM to the others, which may come before the watch has said whom they
// lost. Where the program has no answer of its own to that signal, it takes effect a little later.
void give_the_watch_time() {
    struct sigaction before {};
    ::sigaction(SIGTERM, nullptr, &before);
    if (before.sa_handler != SIG_DFL) return;
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGTERM;
    if (::timer_create(CLOCK_MONOTONIC, &event, &second_termination) == 0) std::signal(SIGTERM, postpone_termination);
}

std::unique_ptr<Communicator> started_by_mpi(const Launched& launched) {
    auto ranks = open_mpi();
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
    if (launched->by == Launched::By::sockets)
        return watched(make_tcp(launched->rank, meet_ranks(*launched)), launched->address, Leave::alone,
                       std::move(on_lost));
    std::unique_ptr<Communicator> ranks;
    {
        const StartGuard guard(on_lost);
        // mpirun (4.1.4) hangs or crashes when a rank ends while another is in MPI_Finalize.
        ranks = watched(started_by_mpi(*launched), "", Leave::together, on_lost);
    }
    give_the_watch_time();
    return ranks;
}

}   // namespace trainer
