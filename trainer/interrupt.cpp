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

std::atomic<bool> is_over = false;

extern "C" void on_early_signal(int signal) {
    if (is_over) return;
    constexpr std::string_view text = "error: stopped before training began; run again with --resume\n";
    [[maybe_unused]] const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
    _exit(static_cast<int>(signal == SIGINT ? Exit::interrupted : Exit::preempted));
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

void end_when_signalled() {
    struct sigaction action {
    }, before{};
    action.sa_handler = on_early_signal;
    action.sa_flags = SA_RESTART;
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) {
        sigaction(signal, nullptr, &before);
        if (signal != SIGHUP || before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
    }
}

void ignore_signals_from_now() { is_over = true; }

int InterruptGuard::signal() { return seen; }

}   // namespace trainer
