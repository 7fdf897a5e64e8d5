#pragma once

#include <string>

#include "hub/weight_source.h"

namespace trainer {

// What the weights of a model are known by, into whatever files they are split. SHA-256 each.
struct WeightsDigest {
    std::string layout;   // of names, types and shapes of all tensors
    std::string values;   // of bytes of every tensor: all of a small one, eight stretches of 4 KiB of a large one

    friend bool operator==(const WeightsDigest&, const WeightsDigest&) = default;
};

// Reads little more than headers. Another model of the same layout has other values unless it differs in few rows only.
WeightsDigest digest_of_weights(const WeightSource& weights);

}   // namespace trainer
