#include "comm/open.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <mutex>
#include <thread>

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

// Ends the process when MPI does not come to an end of its start: a rank that ended before it began is waited for
// without limit there.
class StartLimit {
public:
    explicit StartLimit(const OnLost& on_lost)
        : thread_([this, &on_lost] {
              std::unique_lock lock(mutex_);
              if (!started_.wait_for(lock, limit, [this] { return done_; }))
                  on_lost(
                      static_cast<int>(Exit::peer_lost),
                      format("MPI did not start within {} s; did another rank end before it began?", limit.count()));
          }) {}
    ~StartLimit() {
        {
            const std::lock_guard lock(mutex_);
            done_ = true;
        }
        started_.notify_one();
        thread_.join();
    }
    StartLimit(const StartLimit&) = delete;
    StartLimit& operator=(const StartLimit&) = delete;

private:
    static constexpr std::chrono::seconds limit{60};
    std::mutex mutex_;
    std::condition_variable started_;
    bool done_ = false;
    std::thread thread_;
};

std::unique_ptr<Communicator> connect(const Launched& launched, const OnLost& on_lost) {
    if (launched.by == Launched::By::sockets) return make_tcp(launched.rank, meet_ranks(launched));
    give_the_watch_time();
    std::unique_ptr<Communicator> ranks;
    {
        const StartLimit limit(on_lost);
        ranks = open_mpi();
    }
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
    // mpirun (4.1.4) hangs or crashes when a rank ends while another is in MPI_Finalize.
    const Leave leave = launched->by == Launched::By::mpi ? Leave::together : Leave::alone;
    auto ranks = connect(*launched, on_lost);
    return watched(std::move(ranks), launched->address, leave, std::move(on_lost));
}

}   // namespace trainer
