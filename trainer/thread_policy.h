#pragma once

namespace trainer {

// Threads that wait for the next parallel region shall sleep, not spin: on cores that other programs or ranks use too,
// a spinning thread keeps the one it waits for from running (docs/decisions.md has the figures). OpenMP's library reads
// OMP_WAIT_POLICY before main begins, so this starts the program again, in the same process, with the variable set. It
// returns when the user has set it, or GOMP_SPINCOUNT, or when the program cannot be started again.
void let_waiting_threads_sleep(char** words);

// Starts the threads of parallel regions, or says why they cannot be had: Error(system). Without this OpenMP's library
// would end the program on its own, without an exit code of ours, at whatever region came first.
void start_threads();

}   // namespace trainer
