#include "trainer/interrupt.h"

#include <unistd.h>

#include <csignal>

#include "configs/error.h"

namespace trainer {

namespace {

volatile std::sig_atomic_t seen = 0;

extern "C" void on_signal(int signal) {
    if (seen == SIGINT && signal == SIGINT) _exit(static_cast<int>(Exit::interrupted));
    if (seen != SIGINT) seen = signal;
}

}   // namespace

InterruptGuard::InterruptGuard() {
    seen = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;   // no SA_RESTART: waiting for a line of a chat ends too
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGUSR1, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGUSR1, SIG_DFL);
}

int InterruptGuard::signal() { return seen; }

}   // namespace trainer
