#include "data/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/random.h"
#include "configs/error.h"

namespace trainer {

StepPlan::StepPlan(std::int64_t rows, Options options) : rows_(rows), options_(options) {
    steps_per_epoch_ = options.drop_last ? rows / options.batch : (rows + options.batch - 1) / options.batch;
    require(steps_per_epoch_ > 0, Exit::bad_data,
            "data: {} rows give no full step of training.batch {}; lower it or set data.drop_last: false", rows,
            options.batch);
}

std::int64_t StepPlan::total_steps(double epochs) const {
    return std::max<std::int64_t>(1,
                                  static_cast<std::int64_t>(std::ceil(epochs * static_cast<double>(steps_per_epoch_))));
}

std::vector<std::int32_t> StepPlan::order(std::int64_t epoch) const {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(rows_));
    std::iota(rows.begin(), rows.end(), 0);
    const auto key = [&](std::int32_t row) { return random_key(options_.seed, site_key("data", "order"), epoch, row); };
    std::sort(rows.begin(), rows.end(), [&](std::int32_t a, std::int32_t b) {
        const std::uint64_t key_a = key(a);
        const std::uint64_t key_b = key(b);
        return key_a != key_b ? key_a < key_b : a < b;
    });
    return rows;
}

StepPlan::Step StepPlan::step(std::int64_t index) const {
    const std::int64_t epoch = index / steps_per_epoch_;
    if (ordered_epoch_ != epoch) {
        order_ = order(epoch);
        ordered_epoch_ = epoch;
    }
    const std::int64_t begin = index % steps_per_epoch_ * options_.batch;
    const std::int64_t end = std::min(rows_, begin + options_.batch);
    const std::int64_t rows_used = options_.drop_last ? steps_per_epoch_ * options_.batch : rows_;
    Step step;
    step.epoch = epoch;
    step.epoch_after = static_cast<double>(epoch) + static_cast<double>(end) / static_cast<double>(rows_used);
    for (std::int64_t from = begin; from < end; from += options_.micro_batch)
        step.leaves.emplace_back(order_.begin() + from, order_.begin() + std::min(end, from + options_.micro_batch));
    return step;
}

std::vector<std::vector<std::int32_t>> leaves_in_order(std::int64_t rows, std::int64_t micro_batch) {
    std::vector<std::vector<std::int32_t>> leaves;
    for (std::int64_t from = 0; from < rows; from += micro_batch) {
        auto& leaf = leaves.emplace_back(static_cast<std::size_t>(std::min(micro_batch, rows - from)));
        std::iota(leaf.begin(), leaf.end(), static_cast<std::int32_t>(from));
    }
    return leaves;
}

}   // namespace trainer
