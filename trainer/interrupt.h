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

// From now on, but where an InterruptGuard lives, a signal ends the program with `interrupted` (Ctrl-C) or `preempted`:
// a run may still be reading, with nothing to save. A SIGHUP that is ignored stays so.
void end_when_signalled();
// What is left to do takes no time: those signals have no effect any more.
void ignore_signals_from_now();

}   // namespace trainer
