#pragma once

#include <array>
#include <csignal>

namespace trainer {

// Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP (the terminal is gone) set a flag that the loop reads between steps. A second
// Ctrl-C ends the program at once. SIGHUP stays ignored where it is (nohup).
class InterruptGuard {
public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    static int signal();   // the last one that came, SIGINT before others; 0: none
    static bool requested() { return signal() != 0; }

private:
    static constexpr std::array signals{SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    std::array<struct sigaction, signals.size()> before_{};
};

// SIGUSR1 ends the program with `preempted` from now on, but where an InterruptGuard lives: Slurm's warning may come
// while a run is still reading, with nothing to save.
void end_when_warned();

}   // namespace trainer
