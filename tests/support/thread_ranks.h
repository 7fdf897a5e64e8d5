#pragma once

#include <functional>

#include "comm/communicator.h"

namespace trainer::test {

// Runs `work` as every rank of a communicator of `size` threads of this process, and waits for all.
void run_ranks(int size, const std::function<void(Communicator&)>& work);

}   // namespace trainer::test
