#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "comm/data_path.h"
#include "trainer/inputs.h"
#include "trainer/memory_plan.h"
#include "trainer/metrics.h"
#include "trainer/output_folder.h"
#include "trainer/progress.h"
#include "trainer/resume.h"
#include "trainer/run_checkpoints.h"
#include "trainer/stepper.h"
#include "trainer/stop.h"

namespace trainer {

// One run: the model with its weights, and the loop over the plan's steps. Every rank of a run has one, and calls the
// same functions.
class Trainer {
public:
    // Allocates the model and reads the base weights. `output` is the opened folder of the run at rank 0 and null at
    // the others; `identity` as in trainer/identity.h; `offloaded`: bytes that the plan says. What is given must
    // outlive the trainer.
    Trainer(const Inputs& inputs, DataPath& path, OutputFolder* output, std::map<std::string, std::string> identity,
            std::uint64_t offloaded = 0);

    // Goes on from a checkpoint instead of from the beginning. Once, before `run`.
    void resume(const ResumePoint& point);

    struct Outcome {
        Stop stop = Stop::no;   // no: the run is finished
        bool patience_ended = false;
        TrainingState state;
        std::string checkpoint;        // written because the run was stopped; "" before the first step
        double training_seconds = 0;   // steps alone, of this process
        double evaluation_seconds = 0;
        std::int64_t input_tokens = 0;   // of this process
        MemoryUse memory;                // peak of the tensors
    };
    // Trains, evaluates, writes checkpoints and at the end the run folder. When it is stopped before the end the last
    // step lies in a checkpoint; before the first step nothing is kept.
    Outcome run();

private:
    bool speaks() const { return output_ != nullptr; }
    void say(const std::string& line) const;
    std::filesystem::path metrics_file() const;   // "" where nothing is written
    void open_store(std::uint64_t bytes);
    void start();
    void check_disk() const;
    void train_step();
    void rehearse();
    void complain_of_skipped_step(const Stepper::Result& result);
    [[noreturn]] void end_spoiled(const std::string& what);
    std::string diagnosis_of_last_step();
    // What follows a step and may still have to be done when a run is resumed at it: evaluation, checkpoint.
    void after_step();
    bool evaluation_due() const;
    void evaluate();
    std::optional<Sums> evaluate(const ValidationSet& set);   // nothing when a rank was interrupted
    void note_loss(double loss);
    bool checkpoint_due(bool better) const;
    void save();
    void announce(const std::optional<std::string>& checkpoint) const;
    bool patience_over() const;
    Stop after_requests();
    double seconds_to_safety() const;
    double epoch() const;
    std::string trainer_state_text() const;
    void finish();

    const Inputs& inputs_;
    Communicator& ranks_;
    OutputFolder* output_;
    DeclaredModel declared_;
    std::unique_ptr<OffloadStore> store_;   // where something is offloaded
    std::unique_ptr<Objective> objective_;
    std::unique_ptr<Stepper> stepper_;
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<Metrics> metrics_;
    std::unique_ptr<Progress> progress_;   // rank 0
    std::unique_ptr<RunCheckpoints> checkpoints_;
    StopRequests requests_;
    std::map<std::string, std::string> identity_;
    TrainingState state_;
    std::string parent_;              // the checkpoint it went on from
    std::int64_t safe_step_ = -1;     // whose state lies in a checkpoint, or is about to
    double longest_step_ = 0;         // seconds
    double longest_evaluation_ = 0;   // seconds
    Outcome outcome_;
};

// Rounds frozen values to the dtype they are said to be stored in (model.dtype) although they are held in another.
void round_frozen(ParameterSet& parameters, DType dtype);

}   // namespace trainer
