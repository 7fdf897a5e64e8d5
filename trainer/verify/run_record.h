#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "configs/node.h"

namespace trainer {

// What a finished run left that must be the same when the run is done again: SHA-256 of each.
struct RunRecord {
    std::string name;   // "2 ranks"
    std::string weights;
    std::string optimizer_state;   // with the f32 masters
    std::string training_state;
    std::string metrics;
    std::vector<Node> lines;   // of metrics.jsonl, less what depends on time, machine or number of ranks

    static constexpr std::pair<const char*, std::string RunRecord::*> parts[] = {
        {"weights", &RunRecord::weights},
        {"optimizer state", &RunRecord::optimizer_state},
        {"training state", &RunRecord::training_state},
        {"metrics", &RunRecord::metrics}};
};

// Of a run folder whose last step lies in a checkpoint. Errors as of reading the files.
RunRecord read_record(const std::string& name, const std::filesystem::path& run_folder);

// Names of the parts in which two differ.
std::vector<std::string> differing_parts(const RunRecord& a, const RunRecord& b);

// "step 2: loss 4.25 and 4.5": the first value in which the metrics differ; "" when they do not.
std::string first_difference(const RunRecord& a, const RunRecord& b);

// The largest |b − a| / |a| of a key over all steps; infinite when the runs have not the same steps or a value is not
// finite.
double largest_relative_difference(const RunRecord& a, const RunRecord& b, const std::string& key);

// The highest step that metrics.jsonl of a run folder holds; 0 when there is none yet.
std::int64_t steps_logged(const std::filesystem::path& run_folder);

}   // namespace trainer
