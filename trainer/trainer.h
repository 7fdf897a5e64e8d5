#pragma once

#include <memory>
#include <optional>

#include "trainer/inputs.h"
#include "trainer/memory_plan.h"
#include "trainer/metrics.h"
#include "trainer/output_folder.h"
#include "trainer/progress.h"
#include "trainer/stepper.h"

namespace trainer {

// One run: the model with its weights, and the loop over the plan's steps.
class Trainer {
public:
    // Allocates the model and reads the base weights. What is given must outlive the trainer.
    Trainer(const Inputs& inputs, OutputFolder& output, Communicator& ranks);

    struct Outcome {
        bool interrupted = false;
        std::int64_t steps = 0;
        std::optional<double> first_validation_loss;   // of evaluations that were finished
        std::optional<double> last_validation_loss;
        double training_seconds = 0;   // steps alone
        double evaluation_seconds = 0;
        std::int64_t input_tokens = 0;
        MemoryUse memory;   // peak of the tensors
    };
    // Trains, evaluates and writes the run folder. After an interruption what has been learned is written to
    // checkpoint-N/ of the run folder instead of its root; before the first step nothing is kept.
    Outcome run();

private:
    // Nothing when interrupted.
    std::optional<double> evaluate(std::int64_t step, double epoch, Outcome& outcome);
    std::optional<Sums> evaluate(const ValidationSet& set);
    void write_model(const std::filesystem::path& folder) const;
    void write_state(const std::filesystem::path& folder, double epoch, const Outcome& outcome) const;

    const Inputs& inputs_;
    OutputFolder& output_;
    Communicator& ranks_;
    DeclaredModel declared_;
    std::unique_ptr<Objective> objective_;
    std::unique_ptr<Stepper> stepper_;
    std::unique_ptr<Optimizer> optimizer_;
    std::unique_ptr<Metrics> metrics_;
    std::unique_ptr<Progress> progress_;
};

// Rounds frozen values to the dtype they are said to be stored in (model.dtype) although they are held in another.
void round_frozen(ParameterSet& parameters, DType dtype);

}   // namespace trainer
