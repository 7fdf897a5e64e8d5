#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"

namespace trainer {

// `ranks` with a watch over them (comm/watch.h), which gives abandon and OnLost their meaning. Collective. A call that
// fails because a rank is gone waits for the watch to name the one that was lost first, and so hardly ever returns.
// Destroyed while an exception passes, it abandons the run; otherwise it says goodbye and, if asked to leave together,
// waits for that of all others.
enum class Leave { alone, together };
std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> ranks, const std::string& host, Leave leave,
                                      OnLost on_lost);

}   // namespace trainer
