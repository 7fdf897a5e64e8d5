#pragma once

#include <functional>

#include "comm/communicator.h"
#include "configs/error.h"

namespace trainer {

// An error that every rank throws together: one of them has to say it.
class AgreedError : public Error {
public:
    using Error::Error;
};

// Runs `work`, which holds nothing collective, at every rank, and waits for all. When it fails anywhere every rank
// throws AgreedError with the first failing rank's code; the messages name the ranks unless all fail alike. With one
// rank the error is its own.
void together(Communicator& ranks, const std::function<void()>& work);

}   // namespace trainer
