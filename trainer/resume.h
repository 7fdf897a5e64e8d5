#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "trainer/checkpoint/store.h"
#include "trainer/inputs.h"
#include "trainer/training_state.h"

namespace trainer {

// Where a run goes on: a checkpoint that has been verified.
struct ResumePoint {
    std::filesystem::path folder;
    Manifest manifest;
    TrainingState state;
    Node history;   // log_history of its trainer_state.json

    // Of the manifest's; Error(bad_checkpoint) when it has none of that name.
    const std::string& digest(const std::string& name) const;
};

// The newest checkpoint of the run folder that verifies, or the one that `asked` names ("": none in particular; a run
// folder counts as its newest). Rank 0 reads and verifies all of it and calls `say` with what it skipped and why; the
// others wait until they see the same manifest. Collective. AgreedError: bad_checkpoint when the one asked for does
// not verify, or when another rank does not see it within 30 seconds; usage when it lies in another folder.
std::optional<ResumePoint> find_resume_point(Communicator& ranks, const std::filesystem::path& run_folder,
                                             const std::string& asked,
                                             const std::function<void(const std::string&)>& say);

// training.micro_batch of the run in the folder, by its recipe.yaml or else that of its newest checkpoint that
// has a readable one: what micro_batch: auto was when it began. Nothing when there is no run. Collective.
std::optional<std::int64_t> recorded_micro_batch(Communicator& ranks, const std::filesystem::path& run_folder);

// Whether the run goes on to the same result. Error(incompatible_resume) lists the keys of the recipe that differ (old
// and new), or what else does: data, base model; numerics and, unless sums are strict, the number of ranks (unless
// those may change).
void check_resumable(const ResumePoint& point, const Inputs& inputs, const std::map<std::string, std::string>& identity,
                     int ranks, bool numerics_may_change);

// The recipe's keys in `run_folder`/recipe.yaml that would change the result, as one text; "" when there are none.
std::string changes_text(const std::filesystem::path& recipe, const Inputs& inputs);

}   // namespace trainer
