#include "trainer/stop.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>

#include "comm/collective.h"
#include "trainer/interrupt.h"

namespace trainer {

namespace {

double slurm_end() {
    const char* text = std::getenv("SLURM_JOB_END_TIME");
    return text ? std::strtod(text, nullptr) : 0;
}

double wall_clock() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}   // namespace

StopRequests::StopRequests(Communicator& ranks, std::filesystem::path run_folder)
    : ranks_(ranks), run_folder_(std::move(run_folder)), end_time_(slurm_end()) {}

Stop StopRequests::agreed(double seconds, bool can_save) {
    double strongest = 0;
    for (const double one : gather_values(ranks_, {static_cast<double>(own(seconds, can_save))}))
        strongest = std::max(strongest, one);
    return static_cast<Stop>(static_cast<int>(strongest));
}

Stop StopRequests::own(double seconds, bool can_save) const {
    const int signal = InterruptGuard::signal();
    if (signal == SIGINT) return Stop::interrupted;
    if (signal != 0) return Stop::preempted;
    if (ranks_.rank() != 0) return Stop::no;
    if (end_time_ > 0 && wall_clock() + seconds + margin >= end_time_) return Stop::preempted;
    if (take_file(stop_file)) return Stop::preempted;
    return can_save && take_file(save_file) ? Stop::save : Stop::no;
}

bool StopRequests::take_file(const char* name) const {
    std::error_code ignored;
    return std::filesystem::remove(run_folder_ / name, ignored);
}

bool StopRequests::signalled() { return InterruptGuard::signal() != 0; }

}   // namespace trainer
