#pragma once

#include <optional>
#include <string>

#include "hub/weight_source.h"

namespace trainer {

// What the weights of a model are known by, into whatever files they are split. SHA-256 each.
struct WeightsDigest {
    std::string layout;   // of names, types and shapes of all tensors; of compressed ones with the sizes of blocks
    std::string values;   // of bytes of every tensor: all of a small one, eight stretches of 4 KiB of a large one

    friend bool operator==(const WeightsDigest&, const WeightsDigest&) = default;
};

// Reads little more than headers. Another model of the same layout has other values unless it differs in few rows only.
WeightsDigest digest_of_weights(const WeightSource& weights);

// Other values are another model, unless they are compressed: then another program, or other data to weigh errors by,
// may have compressed the same one. Another layout may be the same model in another format.
enum class SameWeights { yes, other_values, other_layout, unknown };
SameWeights compare(const std::optional<WeightsDigest>& a, const std::optional<WeightsDigest>& b);

// Whether a matrix is stored in a compressed format.
bool holds_compressed(const WeightSource& weights);

}   // namespace trainer
