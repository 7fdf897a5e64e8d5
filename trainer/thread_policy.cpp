#include "trainer/thread_policy.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace trainer {

void let_waiting_threads_sleep(char** words) {
    if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error || setenv("OMP_WAIT_POLICY", "passive", 1) != 0) return;
    execv(program.c_str(), words);
}

}   // namespace trainer
