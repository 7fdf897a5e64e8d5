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

// Files of the run folder by which a run is asked.
inline constexpr const char* stop_file = "STOP";
inline constexpr const char* save_file = "SAVE";

// Collects the requests of all ranks.
class StopRequests {
public:
    // `run_folder`: where rank 0 looks for SAVE and STOP.
    StopRequests(Communicator& ranks, std::filesystem::path run_folder);

    // Collective: the same answer at every rank. `seconds` (rank 0's count): what passes at most until a stop that is
    // not asked for now would have its checkpoint. Slurm's end (SLURM_JOB_END_TIME, seconds of the epoch) counts as
    // near when they and `margin` would not fit before it. STOP is removed when it is seen; SAVE when it is seen and
    // `can_save`, else it waits for a later call.
    Stop agreed(double seconds, bool can_save);
    static constexpr double margin = 5;   // seconds: clocks differ, and the program has to end

    // Whether this rank has got a signal; not agreed.
    static bool signalled();

private:
    Stop own(double seconds, bool can_save) const;
    bool take_file(const char* name) const;

    Communicator& ranks_;
    std::filesystem::path run_folder_;
    double end_time_ = 0;   // 0: none
};

}   // namespace trainer
