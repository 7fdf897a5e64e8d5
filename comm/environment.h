#pragma once

#include <optional>
#include <string>

namespace trainer {

// How a process was started as one of several ranks.
struct Launched {
    enum class By { sockets, mpi };
    By by = By::sockets;
    int rank = 0;
    int size = 1;
    int local_rank = 0;   // among the ranks of this machine; 0 where the launcher does not say
    // Sockets only: where rank 0 listens, and what it was given for that.
    std::string address;
    int port = 0;
    int listener = -1;   // descriptor of a socket that listens there already; -1: none
    std::string key;     // a word that ranks of one launch share; may be empty
};

// What the environment says; nothing when this process was started on its own. In this order: mpirun
// (OMPI_COMM_WORLD_SIZE), torchrun and `--nproc` (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), srun with or without
// PMIx (SLURM_STEP_NUM_TASKS). Does not touch the network.
// Errors: usage, naming the variables that are missing, wrong, or contradict each other.
std::optional<Launched> launched_from_environment();

}   // namespace trainer
