#pragma once

namespace trainer {

// Ctrl-C and SIGTERM set a flag that the loop reads between steps. A second Ctrl-C ends the program at once.
class InterruptGuard {
public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;
    static bool requested();
};

}   // namespace trainer
