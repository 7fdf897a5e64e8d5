#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "trainer/inputs.h"

namespace trainer {

// The leaf of a run with most tokens, whose documents may be as long as the longest of all leaves: none takes more
// memory. `inputs` or `set` must outlive it.
class LargestLeaf {
public:
    static LargestLeaf of_training(const Inputs& inputs);
    static LargestLeaf of_evaluation(const ValidationSet& set, std::int64_t batch);

    Batch on_meta(Place place) const;
    // The leaf itself, as in the first epoch.
    Batch made(std::uint64_t seed, Place place) const;

private:
    LargestLeaf(const std::vector<Example>& examples, const std::vector<Row>& rows);
    void consider(const std::vector<std::int32_t>& leaf);
    // The `count` rows with most tokens: no leaf of any plan is larger.
    void consider_largest_rows(std::int64_t count);

    const std::vector<Example>& examples_;
    const std::vector<Row>& rows_;
    std::vector<std::int64_t> row_tokens_;
    std::int32_t longest_ = 0;
    std::int64_t most_tokens_ = 0;
    std::vector<std::int32_t> leaf_;
};

}   // namespace trainer
