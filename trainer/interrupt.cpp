#include "trainer/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <string_view>

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

extern "C" void on_early_warning(int) {
    constexpr std::string_view text = "error: warned by SIGUSR1 outside of training; run again with --resume\n";
    [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
    _exit(static_cast<int>(Exit::preempted));
}

}   // namespace

InterruptGuard::InterruptGuard() {
    seen = 0;
    struct sigaction action {};
    action.sa_handler = on_signal;   // no SA_RESTART: waiting for a line of a chat ends too
    for (std::size_t i = 0; i < signals.size(); ++i) {
        sigaction(signals[i], nullptr, &before_[i]);
        if (signals[i] != SIGHUP || before_[i].sa_handler != SIG_IGN) sigaction(signals[i], &action, nullptr);
    }
}

InterruptGuard::~InterruptGuard() {
    for (std::size_t i = 0; i < signals.size(); ++i) sigaction(signals[i], &before_[i], nullptr);
}

void end_when_warned() { std::signal(SIGUSR1, on_early_warning); }

int InterruptGuard::signal() { return seen; }

}   // namespace trainer
