#include "comm/background_thread.h"

#include <system_error>

#include "configs/error.h"

namespace trainer {

SignalsBlocked::SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

std::thread start_background_thread(const char* purpose, std::function<void()> work) {
    const SignalsBlocked blocked;
    try {
        return std::thread(std::move(work));
    } catch (const std::system_error& error) {
        fail(Exit::system, "no thread can be started to {}: {}", purpose, error.code().message());
    }
}

}   // namespace trainer
