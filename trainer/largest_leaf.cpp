#include "trainer/largest_leaf.h"

#include <algorithm>
#include <numeric>

namespace trainer {

namespace {

constexpr std::int64_t scanned_rows = 10'000'000;   // of a run's plan

}   // namespace

LargestLeaf LargestLeaf::of_training(const Inputs& inputs) {
    const TrainingOptions& training = inputs.recipe.training;
    LargestLeaf largest(inputs.train.examples, inputs.rows);
    if (inputs.total_steps > scanned_rows / training.batch)
        largest.consider_largest_rows(training.micro_batch.rows);
    else
        for (std::int64_t step = 0; step < inputs.total_steps; ++step)
            for (const auto& leaf : inputs.plan->step(step).leaves) largest.consider(leaf);
    return largest;
}

LargestLeaf LargestLeaf::of_evaluation(const ValidationSet& set, std::int64_t batch) {
    LargestLeaf largest(set.data.examples, set.rows);
    for (const auto& leaf : leaves_in_order(static_cast<std::int64_t>(set.rows.size()), batch)) largest.consider(leaf);
    return largest;
}

LargestLeaf::LargestLeaf(const std::vector<Example>& examples, const std::vector<Row>& rows)
    : examples_(examples), rows_(rows) {
    for (const Row& row : rows) {
        std::int64_t& tokens = row_tokens_.emplace_back(0);
        for (const std::int32_t index : row) {
            const Example& example = examples[static_cast<std::size_t>(index)];
            tokens += static_cast<std::int64_t>(example.ids.size());
            longest_ = std::max(longest_, static_cast<std::int32_t>(example.ids.size()));
        }
    }
}

void LargestLeaf::consider(const std::vector<std::int32_t>& leaf) {
    std::int64_t tokens = 0;
    for (const std::int32_t row : leaf) tokens += row_tokens_[static_cast<std::size_t>(row)];
    if (tokens <= most_tokens_) return;
    most_tokens_ = tokens;
    leaf_ = leaf;
}

void LargestLeaf::consider_largest_rows(std::int64_t count) {
    std::vector<std::int32_t> order(rows_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return row_tokens_[static_cast<std::size_t>(a)] > row_tokens_[static_cast<std::size_t>(b)];
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(count)));
    consider(order);
}

Batch LargestLeaf::on_meta(Place place) const {
    Batch batch = make_meta_batch(examples_, rows_, leaf_, place);
    batch.layout.longest = longest_;
    return batch;
}

Batch LargestLeaf::made(std::uint64_t seed, Place place) const {
    return make_batch(examples_, rows_, leaf_, seed, 0, place);
}

}   // namespace trainer
