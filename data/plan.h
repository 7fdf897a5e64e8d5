#pragma once

#include <cstdint>
#include <vector>

#include "data/packer.h"

namespace trainer {

// Which rows every step of a run sees. Rows are permuted per epoch by a key of (seed, epoch, row); a step takes
// `batch` rows in that order, the last of an epoch fewer (or, with drop_last, is left out); steps never span epochs.
// The rows of a step, in order, are cut into leaves of `micro_batch` rows.
class StepPlan {
public:
    struct Options {
        std::int64_t batch;
        std::int64_t micro_batch;
        bool drop_last;
        std::uint64_t seed;
    };
    struct Step {
        std::int64_t epoch;
        double epoch_after;                              // epochs done after this step: epoch + rows done / rows
        std::vector<std::vector<std::int32_t>> leaves;   // row indices
    };

    // Error(bad_data) when drop_last leaves no step.
    StepPlan(std::int64_t rows, Options options);

    std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
    std::int64_t total_steps(double epochs) const;   // ⌈epochs · steps per epoch⌉, at least 1
    Step step(std::int64_t index) const;             // from 0

private:
    std::vector<std::int32_t> order(std::int64_t epoch) const;

    std::int64_t rows_;
    Options options_;
    std::int64_t steps_per_epoch_;
    mutable std::int64_t ordered_epoch_ = -1;
    mutable std::vector<std::int32_t> order_;
};

// Leaves over all rows in order, for evaluation.
std::vector<std::vector<std::int32_t>> leaves_in_order(std::int64_t rows, std::int64_t micro_batch);

}   // namespace trainer
