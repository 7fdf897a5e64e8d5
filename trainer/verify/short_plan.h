#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "trainer/inputs.h"
#include "trainer/verify/child_run.h"
#include "trainer/verify/run_record.h"
#include "trainer/verify/scratch_folder.h"

namespace trainer {

// The first steps of a recipe, to be run several times by processes of their own in a scratch folder. Length, warm-up,
// evaluation and checkpoints are cut to `steps`; everything else is the recipe's.
class ShortPlan {
public:
    // Reads the recipe and all its data, so that the user's mistakes are said once, and nothing is written before. What
    // the recipe leaves to memory is decided once for all runs, which are to be with these numbers of ranks; those that
    // a step has too few rows for do not count. Error(bad_data) when the data can be read only once.
    ShortPlan(std::string recipe, std::vector<std::string> overrides, std::int64_t steps,
              const std::set<int>& ranks = {1});

    const Inputs& inputs() const { return inputs_; }
    std::int64_t steps() const { return steps_; }
    const std::filesystem::path& folder() const { return scratch_.path(); }

    // A run in a folder that is not there yet, with more overrides.
    RunCommand command(const std::vector<std::string>& more = {}) const;
    // Runs to the end; then as `take`.
    RunRecord run(const std::string& name, const RunCommand& command) const;
    // Reads what came of a run and removes its folder.
    RunRecord take(const std::string& name, const RunCommand& command) const;

private:
    std::string recipe_;
    std::vector<std::string> overrides_;
    std::int64_t steps_;
    Inputs inputs_;
    ScratchFolder scratch_;
};

}   // namespace trainer
