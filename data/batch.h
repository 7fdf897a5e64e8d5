#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "autograd/layout.h"
#include "data/example.h"
#include "data/packer.h"

namespace trainer {

// The tokens of one leaf.
struct Batch {
    Tensor ids;                        // (N) i32, on the host
    Tensor targets;                    // (N) i32, on the host: the next token of the same document, or -100
    Layout layout;                     // where the model is
    std::int64_t trained_tokens = 0;   // targets that are not -100
};

// `rows` of the plan, their documents one after another. Token keys are (seed, epoch, source, row, occurrence,
// position): they do not depend on packing or on the place in the step. `place`: where the model is.
Batch make_batch(const std::vector<Example>& examples, const std::vector<Row>& rows,
                 std::span<const std::int32_t> chosen, std::uint64_t seed, std::int64_t epoch,
                 Place place = Place::cpu());

// A leaf of the same shape on a meta place (no bytes), for the memory plan.
Batch make_meta_batch(const std::vector<Example>& examples, const std::vector<Row>& rows,
                      std::span<const std::int32_t> chosen, Place place = Place::meta());

}   // namespace trainer
