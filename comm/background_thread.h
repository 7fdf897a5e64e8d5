#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace trainer {

// While the object lives this thread takes no signals, nor do the threads that it starts, ever: signals are for the
// thread that answers them.
class SignalsBlocked {
public:
    SignalsBlocked();
    ~SignalsBlocked();
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_{};
};

// A thread that takes no signals. Error(system): "no thread can be started to {purpose}: …".
std::thread start_background_thread(const char* purpose, std::function<void()> work);

}   // namespace trainer
