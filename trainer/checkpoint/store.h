#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/run_lock.h"

namespace trainer {

// The checkpoints of a run's folder: entries named checkpoint-<step>. Reading needs no lock; sweeping and rotating are
// the run's own business.

std::string checkpoint_name(std::int64_t step);                         // "checkpoint-50"
std::optional<std::int64_t> checkpoint_step(const std::string& name);   // nothing unless it is such a name

// Steps of all entries with such names, rising; they need not be valid. Empty when there is no folder.
std::vector<std::int64_t> list_checkpoints(const std::filesystem::path& run_folder);

// A run goes on from `step`. Error(cannot_create) when an entry has the name of a later checkpoint and is no folder,
// such as a link: no checkpoint could take its place.
void refuse_blocked_names(const std::filesystem::path& run_folder, std::int64_t step);

struct Checkpoint {
    std::filesystem::path folder;
    Manifest manifest;
};

// Reads every byte, several files at a time. Error(bad_checkpoint) names the first file in name order that is missing,
// no regular file of the folder itself, or differs in size or digest (found and expected); a manifest that is not
// valid or of another step than the folder's name says; a safetensors file or index that the manifest does not list.
// Other files that it does not list are not looked at.
Checkpoint verify_checkpoint(const std::filesystem::path& folder);

struct SkippedCheckpoint {
    std::string name;
    std::string reason;
};

struct NewestCheckpoint {
    std::optional<Checkpoint> found;
    std::vector<SkippedCheckpoint> skipped;   // newer ones that do not verify, newest first
};

// The newest that verifies. Looks again when a checkpoint was removed while it was read.
NewestCheckpoint find_newest_checkpoint(const std::filesystem::path& run_folder);

// To be called after checkpoint-`committed` was committed. Removes those of later steps, good or not: the run went on
// from before them. Of the others all but the newest `keep` and those of the steps in `keep_always` (the best); only
// those count whose manifest is valid and whose files have the listed sizes, others are neither counted nor removed. A
// checkpoint is renamed to `.trash-…` first, so that no reader meets a half of it. keep ≥ 1. Error(io).
void rotate_checkpoints(const RunLock& lock, std::int64_t committed, std::int64_t keep,
                        const std::set<std::int64_t>& keep_always);

// Whether a killed run may have left an entry of that name in its folder: .lock, .tmp-… or .trash-….
bool is_leftover(const std::string& name);

// Removes what killed runs left in the folder, all but the lock. Error(io).
void sweep_leftovers(const RunLock& lock);

}   // namespace trainer
