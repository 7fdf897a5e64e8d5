#pragma once

#include <cstdint>
#include <optional>

#include "optim/schedule_options.h"

namespace trainer {

// Where reduce_on_plateau stands; untouched by the others. Part of a checkpoint.
struct PlateauState {
    double factor = 1;   // on the learning rate
    std::optional<double> lowest_loss;
    std::int64_t without_lower = 0;   // evaluations in a row
    std::int64_t cooldown = 0;        // evaluations that do not count yet

    template <typename Visitor>
    void fields(Visitor& field) {
        field("factor", factor, "on the learning rate", above(0), at_most(1));
        field("lowest_loss", lowest_loss, "the lowest validation loss that counted");
        field("without_lower", without_lower, "evaluations in a row without a lower one", at_least(0));
        field("cooldown", cooldown, "evaluations that do not count yet", at_least(0));
    }
};

// Factor on the learning rate for update `update` (0 … total-1), as transformers' schedules. For W updates (`warmup`
// below 1 is a fraction of total, rounded up; else a count) linear warm-up from 0. Then, with s = (update − W)/(total −
// W), the share of the rest that is done:
//   constant             1
//   linear               1 − s
//   cosine               (1 + cos π (cycles·s mod 1)) / 2
//   polynomial           (1 − s)^power
//   inverse_sqrt         √(timescale / (update + timescale − W))
//   wsd                  1, and in the last D updates (`decay`, read as `warmup` is) with d the share of them that is
//                        done 1 − d, (1 + cos πd)/2 or 1 − √d
//   reduce_on_plateau    plateau.factor
// What falls to 0 is lifted to f·(1 − m) + m with m = min_lr_ratio.
double schedule_factor(const ScheduleOptions& options, std::int64_t update, std::int64_t total,
                       const PlateauState& plateau = {});

// W of the above.
std::int64_t warmup_updates(const ScheduleOptions& options, std::int64_t total);
// The most `cycles` with which a cycle has two updates; 1 at least.
std::int64_t most_cycles(const ScheduleOptions& options, std::int64_t total);
// D of the above.
std::int64_t decay_updates(const ScheduleOptions& options, std::int64_t total);

// After an evaluation: torch's ReduceLROnPlateau(mode="min", threshold_mode="rel", eps=0) for reduce_on_plateau. A loss
// that is no number counts as not lower.
void note_evaluation(const ScheduleOptions& options, double loss, PlateauState& plateau);

}   // namespace trainer
