#pragma once

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include "comm/communicator.h"

namespace trainer {

// While it lives a launcher's MPI starts and the watch (comm/watch.h) is not there yet: a rank that is lost meanwhile
// is known to the launcher alone, and the others wait for it without limit. So the launcher's first word that it ends
// the run ends this process: mpirun sends SIGCONT, a second later SIGTERM, and kills another second later. OnLost is
// called with peer_lost 0.2 s after SIGCONT, at once at SIGTERM, or after a minute. Signals that the program answers
// itself are left alone, and a SIGTERM that came too late is sent again.
class StartGuard {
public:
    explicit StartGuard(const OnLost& on_lost);
    ~StartGuard();   // it has started
    StartGuard(const StartGuard&) = delete;
    StartGuard& operator=(const StartGuard&) = delete;

private:
    void run(const OnLost& on_lost);

    std::mutex mutex_;
    std::condition_variable news_;
    bool started_ = false;
    struct sigaction terminate_ {};   // what was set before
    struct sigaction continue_ {};
    std::thread thread_;
};

}   // namespace trainer
