#include "trainer/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "configs/error.h"

namespace trainer {

namespace {

std::atomic<int> seen = 0;   // written by whichever thread the signal meets
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may not wait");

extern "C" void on_signal(int signal) {
    int before = seen.load();
    while (before != SIGINT && !seen.compare_exchange_weak(before, signal)) {
    }
    if (before == SIGINT && signal == SIGINT) _exit(static_cast<int>(Exit::interrupted));
}

bool ignored(int signal) {
    struct sigaction now {};
    sigaction(signal, nullptr, &now);
    return now.sa_handler == SIG_IGN;
}

}   // namespace

InterruptGuard::InterruptGuard() : hangs_up_(!ignored(SIGHUP)) {
    seen = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;   // no SA_RESTART: waiting for a line of a chat ends too
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGUSR1, &action, nullptr);
    if (hangs_up_) sigaction(SIGHUP, &action, nullptr);
}

InterruptGuard::~InterruptGuard() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGUSR1, SIG_DFL);
    if (hangs_up_) std::signal(SIGHUP, SIG_DFL);
}

int InterruptGuard::signal() { return seen; }

}   // namespace trainer
