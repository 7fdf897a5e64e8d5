#pragma once

namespace trainer {

// Threads that wait for the next parallel region shall sleep, not spin: on cores that other programs or ranks use too,
// a spinning thread keeps the one it waits for from running (docs/decisions.md has the figures). OpenMP's library reads
// OMP_WAIT_POLICY before main begins, so this starts the program again, in the same process, with the variable set. It
// returns when the user has set it, or GOMP_SPINCOUNT, or when the program cannot be started again.
void let_waiting_threads_sleep(char** words);

// Under a limit of address space (ulimit -v) all threads share what the C library allocates from: one arena for each
// would set 64 MiB of addresses apart for good, and 128 while it is made. To be called before there are threads.
void share_one_arena();

// Starts the threads of parallel regions, or says why they cannot be had: Error(system). Without this OpenMP's library
// would end the program on its own, without an exit code of ours, at whatever region came first.
void start_threads();

}   // namespace trainer
