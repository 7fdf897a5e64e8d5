#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "configs/fields.h"
#include "optim/loss_scaler.h"
#include "optim/schedule.h"

namespace trainer {

// How far a run is: training_state.json of a checkpoint. Together with values and optimizer state everything that the
// rest of the run depends on; no field depends on time, on the machine or on the number of ranks.
struct TrainingState {
    std::int64_t step = 0;               // steps done, skipped ones included: the place in the data
    std::int64_t epoch = 0;              // of the next step
    std::int64_t index = 0;              // of the next step in that epoch
    std::int64_t updates = 0;            // steps that changed weights: the place in the schedule, and Adam's t
    std::int64_t skipped = 0;            // steps whose loss or gradient were not finite
    std::int64_t skipped_in_a_row = 0;   // but those that a smaller loss scale may help
    std::int64_t input_tokens = 0;
    std::int64_t trained_tokens = 0;
    std::optional<double> first_validation_loss;
    std::optional<double> last_validation_loss;
    std::optional<double> best_validation_loss;   // strictly lower wins, so the earliest
    std::int64_t best_step = 0;
    std::int64_t evaluations_since_best = 0;
    std::int64_t evaluated_step = -1;   // of the newest evaluation
    PlateauState plateau;
    std::vector<double> optimizer_numbers;   // Optimizer::numbers
    std::optional<LossScaler> loss_scaler;   // with training.precision f16

    template <typename Visitor>
    void fields(Visitor& field) {
        field("step", step, "steps done", at_least(0));
        field("epoch", epoch, "epoch of the next step", at_least(0));
        field("index", index, "number of the next step in its epoch", at_least(0));
        field("updates", updates, "steps that changed weights", at_least(0));
        field("skipped", skipped, "steps with numbers that were not finite", at_least(0));
        field("skipped_in_a_row", skipped_in_a_row,
              "of them, since the last update, those that no smaller loss scale helps", at_least(0));
        field("input_tokens", input_tokens, "tokens read", at_least(0));
        field("trained_tokens", trained_tokens, "targets among them", at_least(0));
        field("first_validation_loss", first_validation_loss, "before the first step");
        field("last_validation_loss", last_validation_loss, "of the newest evaluation");
        field("best_validation_loss", best_validation_loss, "the lowest so far");
        field("best_step", best_step, "where it was found", at_least(0));
        field("evaluations_since_best", evaluations_since_best, "for early stopping", at_least(0));
        field("evaluated_step", evaluated_step, "of the newest evaluation; -1: none", at_least(-1));
        field("plateau", plateau, "where schedule reduce_on_plateau stands");
        field("optimizer_numbers", optimizer_numbers, "what the optimizer keeps beside its tensors");
        field("loss_scaler", loss_scaler, "where the loss scale stands; null: there is none");
    }
};

}   // namespace trainer
