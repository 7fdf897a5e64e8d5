#pragma once

#include <memory>

#include "comm/communicator.h"

namespace trainer {

// MPI is a library of its own beside the program (trainer_mpi.so, made of comm/mpi.cpp), so that the program starts on
// machines without MPI. It is looked for beside the program and in ../lib/trainer.

// The ranks that mpirun or srun started, over MPI_COMM_WORLD; MPI is initialised by this and finalised with the object.
// It does not watch the ranks (comm/watch.h does). After abandon nothing is finalised: the others will not come.
// Errors: system when the module is missing, does not fit the program, or MPI does not start.
std::unique_ptr<Communicator> open_mpi();

// The module's only function. `interface` is mpi_interface of the program that calls; null: the module has another.
constexpr int mpi_interface = 1;
constexpr const char* mpi_entry = "trainer_open_mpi";
using MpiEntry = Communicator* (*)(int interface);

}   // namespace trainer
