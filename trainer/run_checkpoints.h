#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "trainer/checkpoint/run_lock.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/evaluation_values.h"
#include "trainer/model_output.h"
#include "trainer/stepper.h"
#include "trainer/training_state.h"

namespace trainer {

// The checkpoints of one run: what goes into them, when they are committed, and which stay.
class RunCheckpoints {
public:
    struct Run {
        const Inputs& inputs;
        Communicator& ranks;
        CausalLm& model;
        const PeftMethod* peft;
        Optimizer& optimizer;
        Stepper& stepper;
        std::map<std::string, std::string> identity;
        const RunLock* lock;   // rank 0
    };
    // `parent`: the checkpoint the run went on from, or ""; `best_step`: the best so far, 0 for none.
    RunCheckpoints(Run run, std::string parent, std::int64_t best_step);

    // Collective. Copies everything and writes it behind the loop; one that is still being written is waited for and
    // its name returned.
    // `trainer_state`: of the moment; `metrics`: all of metrics.jsonl (rank 0).
    std::optional<std::string> save(const TrainingState& state, const std::string& trainer_state,
                                    const std::string& metrics);
    // Collective; to be called between steps: commits what has been written (`wait`: waits for it) and removes old
    // ones. Returns the name of a checkpoint that is safe now.
    std::optional<std::string> poll(bool wait);

    const std::string& newest() const { return parent_; }   // that is safe; "" for none

    // Collective. Removes checkpoints that are not to be kept; a killed run may have left some.
    void tidy();

    // From copying to safety: the longest so far; before the first what a slow disk would take.
    double expected_seconds() const { return writer_.seconds() > 0 ? writer_.seconds() : first_seconds_; }
    // What the run's folder will hold at its fullest: checkpoints, the result, and in each of them the metrics so far,
    // whose size is estimated, and left out where `eval.patience` may end the run early. A run from the beginning.
    std::uint64_t bytes_of_run() const;

private:
    std::uint64_t bytes() const;   // of one checkpoint, without metrics
    std::function<void(const std::filesystem::path&)> file_writer(const TrainingState& state,
                                                                  const std::string& trainer_state,
                                                                  const std::string& metrics,
                                                                  std::shared_ptr<const StateCopy> copy,
                                                                  ValueCopies evaluated) const;
    std::shared_ptr<StateCopy> make_copy() const;
    Manifest manifest(std::int64_t step) const;

    Run run_;
    std::filesystem::path folder_;
    std::vector<ParameterSlice> slices_;   // this rank's part of the state file
    std::string run_id_;
    std::uint64_t other_bytes_;   // of a checkpoint: all but the state file, as it was when the run began
    CheckpointWriter writer_;
    double first_seconds_;
    std::string parent_;
    std::string writing_;   // name of the one under way
    std::int64_t best_step_ = 0;
    std::shared_ptr<StateCopy> copy_;   // when training goes on after a checkpoint; else each makes its own
    std::jthread populating_;
};

}   // namespace trainer
