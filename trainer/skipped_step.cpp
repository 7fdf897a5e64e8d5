// What the loop says and does of a step that was not applied.
#include <cmath>

#include "comm/together.h"
#include "configs/error.h"
#include "configs/json.h"
#include "trainer/diagnosis.h"
#include "trainer/trainer.h"

namespace trainer {

void Trainer::complain_of_skipped_step(const Stepper::Result& result) {
    const std::string what =
        format("step {}: loss {}, gradient norm {}", state_.step, result.sums.mean_loss(), result.gradient_norm);
    if (result.spoiled) end_spoiled(what);
    if (state_.loss_scaler && state_.loss_scaler->can_help() && std::isfinite(result.sums.mean_loss()))
        return say(format("{}: with a loss scale of {} too large for f16, the step is skipped and the scale halved",
                          what, state_.loss_scaler->scale));
    ++state_.skipped_in_a_row;
    if (state_.skipped_in_a_row < inputs_.recipe.training.nonfinite_steps)
        return say(what + ": not finite, the step is skipped");
    progress_.reset();
    checkpoints_->poll(true);
    throw AgreedError(
        Exit::diverged,
        format("the run diverged: {}, not finite {} in a row (training.nonfinite_steps). {}. Lower optimizer.lr or "
               "check the data{}",
               what, state_.skipped_in_a_row == 1 ? "1 time" : format("{} times", state_.skipped_in_a_row),
               diagnosis_of_last_step(),
               state_.loss_scaler ? "; what is beyond 65504 is infinite in f16, but not with training.precision: bf16"
                                  : ""));
}

void Trainer::end_spoiled(const std::string& what) {
    progress_.reset();
    checkpoints_->poll(true);
    throw AgreedError(
        Exit::diverged,
        format("the run diverged: {}. A gradient turned out not finite when other weights had been updated already in "
               "the same backward pass (optimizer.in_backward): the weights in memory are spoiled, and nothing of them "
               "is saved. {} without optimizer.in_backward, which skips the step",
               what,
               checkpoints_->newest().empty() ? "There is no checkpoint to go on from: start anew"
                                              : "Go on from " + checkpoints_->newest() + " by --resume"));
}

std::string Trainer::diagnosis_of_last_step() {
    const auto leaves = static_cast<std::int64_t>(inputs_.plan->step(state_.step - 1).leaves.size());
    const Diagnosis diagnosis =
        diagnose({inputs_, *declared_.model, *objective_, ranks_, state_.step - 1, stepper_->leaves_of(leaves),
                  state_.loss_scaler ? state_.loss_scaler->scale : 1});
    if (!speaks()) return diagnosis.summary;
    const std::string name = reproduction_name(state_.step);
    try {
        output_->write(name, to_json(diagnosis.document, {.indent = 2}) + "\n");
    } catch (const Error& error) {   // why the run ends is more important
        return format("{}. {} could not be written: {}", diagnosis.summary, name, error.what());
    }
    return format("{}. The rows are in {}", diagnosis.summary, (output_->path() / name).string());
}

}   // namespace trainer
