#pragma once

namespace trainer {

// Ctrl-C, SIGTERM and SIGUSR1 set a flag that the loop reads between steps. A second Ctrl-C ends the program at once.
class InterruptGuard {
public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    static int signal();   // the last one that came, SIGINT before others; 0: none
    static bool requested() { return signal() != 0; }
};

}   // namespace trainer
