#include "comm/start_guard.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "comm/background_thread.h"
#include "configs/error.h"

namespace trainer {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds limit{60};
constexpr milliseconds glance{20};
constexpr milliseconds patience{200};   // after SIGCONT, which may also end a pause of this process

std::atomic<bool> continued = false;
std::atomic<bool> terminated = false;
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not wait");

extern "C" void on_continue(int) { continued = true; }
extern "C" void on_terminate(int) { terminated = true; }

// Where the program has no answer of its own.
void answer(int signal, void (*handler)(int), struct sigaction& before) {
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_DFL) return;
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, nullptr);
}

}   // namespace

StartGuard::StartGuard(const OnLost& on_lost) {
    continued = false;
    terminated = false;
    thread_ = start_background_thread("watch the start of MPI", [this, &on_lost] { run(on_lost); });
    answer(SIGCONT, on_continue, continue_);
    answer(SIGTERM, on_terminate, terminate_);
}

StartGuard::~StartGuard() {
    {
        const std::lock_guard lock(mutex_);
        started_ = true;
    }
    news_.notify_one();
    thread_.join();
    ::sigaction(SIGCONT, &continue_, nullptr);
    ::sigaction(SIGTERM, &terminate_, nullptr);
    if (terminated) std::raise(SIGTERM);
}

void StartGuard::run(const OnLost& on_lost) {
    constexpr int lost = static_cast<int>(Exit::peer_lost);
    auto deadline = steady_clock::now() + limit;
    bool heard = false;
    std::unique_lock lock(mutex_);
    while (!news_.wait_for(lock, glance, [this] { return started_; })) {
        if (continued && !heard) {
            heard = true;
            deadline = std::min(deadline, steady_clock::now() + patience);
        }
        if (!terminated && steady_clock::now() < deadline) continue;
        on_lost(lost,
                heard || terminated
                    ? "the launcher ended the run while MPI started: a rank was lost, or it was told to stop"
                    : format("MPI did not start within {} s; did another rank end before it began?", limit.count()));
        return;
    }
}

}   // namespace trainer
