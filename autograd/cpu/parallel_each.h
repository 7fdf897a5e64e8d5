#pragma once

#include <cstdint>
#include <exception>

namespace trainer {

// Calls work(i) for 0 ≤ i < count, each on one of the threads, in any order; on this one alone unless `parallel`. What
// the last failing call threw is thrown here when all have ended: an exception must not leave a parallel region.
template <typename Work>
void parallel_each(std::int64_t count, Work&& work, bool parallel = true) {
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic) if (parallel)
    for (std::int64_t i = 0; i < count; ++i) try {
            work(i);
        } catch (...) {
#pragma omp critical(parallel_each_failure)
            failure = std::current_exception();
        }
    if (failure) std::rethrow_exception(failure);
}

}   // namespace trainer
