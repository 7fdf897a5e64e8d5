#pragma once

#include <csignal>

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

}   // namespace trainer
