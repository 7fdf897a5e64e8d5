#pragma once

#include <filesystem>

#include "comm/communicator.h"

namespace trainer {

// What a run has been asked to do at a step boundary; the greater wins.
enum class Stop : int {
    no = 0,
    save = 1,   // write a checkpoint and go on: a file SAVE in the run folder
    preempted =
        2,   // write a checkpoint and end with exit code 75: SIGTERM, SIGHUP, SIGUSR1, a file STOP, Slurm's end time
    interrupted = 3,   // the same with 130: Ctrl-C
};

// Collects the requests of all ranks.
class StopRequests {
public:
    // `run_folder`: where rank 0 looks for SAVE and STOP.
    StopRequests(Communicator& ranks, std::filesystem::path run_folder);

    // Collective: the same answer at every rank. SAVE and STOP are removed when they are seen. Slurm's end
    // (SLURM_JOB_END_TIME, seconds of the epoch) counts as near when another step and two times `save_seconds` would
    // not fit before it.
    Stop agreed(double step_seconds, double save_seconds);

    // Whether this rank has got a signal; not agreed.
    static bool signalled();

private:
    Stop own(double step_seconds, double save_seconds) const;
    bool take_file(const char* name) const;

    Communicator& ranks_;
    std::filesystem::path run_folder_;
    double end_time_ = 0;   // 0: none
};

}   // namespace trainer
