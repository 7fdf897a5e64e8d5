#include "trainer/thread_policy.h"

#include <malloc.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "autograd/cpu/signals_blocked.h"
#include "configs/error.h"

namespace trainer {

void let_waiting_threads_sleep(char** words) {
    if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error || setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return;
    execv(program.c_str(), words);
}

void share_one_arena() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) ::mallopt(M_ARENA_MAX, 1);
}

void start_threads() {
    const int wanted = omp_get_max_threads();
    const SignalsBlocked blocked;
    std::latch all_tried(1);   // those that were started stay until then
    std::vector<std::thread> tried;
    tried.reserve(static_cast<std::size_t>(wanted));
    std::string refusal;
    try {
        while (static_cast<int>(tried.size()) < wanted - 1) tried.emplace_back([&all_tried] { all_tried.wait(); });
    } catch (const std::exception& exception) {
        refusal = exception.what();
    }
    all_tried.count_down();
    for (std::thread& thread : tried) thread.join();
    require(refusal.empty(), Exit::system,
            "only {} of {} threads can be started: {}; set OMP_NUM_THREADS to fewer or raise the limits of processes "
            "and address space (ulimit -u, ulimit -v)",
            tried.size() + 1, wanted, refusal);
    // Each asks for memory, so that what the C library sets apart for a thread is taken now, not when it runs short.
    std::vector<std::vector<char>> first(static_cast<std::size_t>(wanted));
    bool refused = false;
#pragma omp parallel
    try {
        first[static_cast<std::size_t>(omp_get_thread_num())].reserve(64);
    } catch (...) {   // no exception may leave the thread
#pragma omp critical(thread_memory)
        refused = true;
    }
    if (refused) throw std::bad_alloc();
}

}   // namespace trainer
