#pragma once

#include <functional>

namespace trainer::cuda {

// Which of `count` ways to compute the same thing is fastest on the device: each runs once to warm up, then until two
// milliseconds are over, and counts with its middle time. `run(i)` is false where way i cannot be used. One that is
// less than 2 % faster than an earlier one does not take its place. -1 where none can be used.
int fastest(int count, const std::function<bool(int)>& run);

}   // namespace trainer::cuda
