#pragma once

#include <string>

namespace trainer {

struct LaunchOutcome {
    int exit_code = 0;
    std::string killed;   // "rank 2 (process 123) was killed by signal 9 (Killed)", when a signal was the first cause
};

// Starts this program `count` times on this machine with its own arguments less `--nproc`, as the ranks of one run over
// sockets, and waits for them. SIGHUP, SIGINT, SIGTERM and SIGUSR1 are passed on to all, SIGUSR2 is ignored. When a
// rank has failed and others are still there after 2.5 seconds, they are killed. Ranks die with this process.
// OMP_NUM_THREADS becomes the cores divided by the ranks unless it is set. The exit code is that of the first cause: a
// rank's own failure before the losses (82) it brought to others; a rank that was killed by a signal counts as lost.
// Must be called while the process has one thread. Errors: usage for a count outside [1, 1024], and inside an
// environment that a launcher has made; system when processes cannot be started.
LaunchOutcome launch_ranks(int count);

}   // namespace trainer
