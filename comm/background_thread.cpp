#include "comm/background_thread.h"

#include <system_error>

#include "autograd/cpu/signals_blocked.h"
#include "configs/error.h"

namespace trainer {

std::thread start_background_thread(const char* purpose, std::function<void()> work) {
    const SignalsBlocked blocked;
    try {
        return std::thread(std::move(work));
    } catch (const std::system_error& error) {
        fail(Exit::system, "no thread can be started to {}: {}", purpose, error.code().message());
    }
}

}   // namespace trainer
