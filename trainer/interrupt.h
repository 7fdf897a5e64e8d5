#pragma once

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
    bool hangs_up_;   // SIGHUP was not ignored
};

}   // namespace trainer
