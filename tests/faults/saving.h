#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "tests/faults/disk_faults.h"

namespace trainer::test {

inline constexpr std::int64_t last_step = 3;

// A run that only saves: takes the lock, sweeps, goes on behind the newest checkpoint that verifies up to `last_step`,
// keeps the newest and the first, and at last writes the last once more over itself. `acknowledge` is called with the
// step after each commit. Returns the exit code a program would end with.
int save_checkpoints(const std::filesystem::path& run_folder, const std::function<void(std::int64_t)>& acknowledge);

// What must hold of a run's folder at any instant: the newest that verifies is not older than what was acknowledged,
// the first is still there once it was acknowledged, and every checkpoint that verifies holds exactly what was saved.
struct Loss {
    bool lost = false;    // something acknowledged
    bool wrong = false;   // something else than was saved is taken for valid
};
Loss loss_in(const std::filesystem::path& run_folder, std::int64_t acknowledged);

// The calls of `save_checkpoints` in an empty folder, each acknowledgement as a mark.
std::vector<DiskRecord> record_saving(const std::filesystem::path& run_folder);

// Memory, where flushing costs nothing; the usual place of temporary files where there is no such thing.
void use_fast_temporary_folder();

}   // namespace trainer::test
