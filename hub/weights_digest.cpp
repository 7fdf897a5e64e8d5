#include "hub/weights_digest.h"

#include <algorithm>

#include "hub/sha256.h"

namespace trainer {

namespace {

constexpr std::size_t stretch = 4096, stretches = 8;

void add_values(std::span<const std::byte> bytes, Sha256& hash) {
    if (bytes.size() <= stretch * stretches) {
        hash.update(bytes);
        return;
    }
    const std::size_t last = bytes.size() - stretch;
    for (std::size_t i = 0; i < stretches; ++i)   // evenly from the first to the last
        hash.update(bytes.subspan(last * i / (stretches - 1), stretch));
}

}   // namespace

WeightsDigest digest_of_weights(const WeightSource& weights) {
    Sha256 layout, values;
    for (const std::string& name : weights.names()) {
        const auto matrix = weights.packed(name, DType::bf16);
        const std::string type = matrix ? matrix->layout() : weights.stored_type(name);
        layout.update(name + " " + type + " " + shape_text(weights.shape(name)) + "\n");
        add_values(weights.bytes(name), values);
    }
    return {layout.finish(), values.finish()};
}

SameWeights compare(const std::optional<WeightsDigest>& a, const std::optional<WeightsDigest>& b) {
    if (!a || !b) return SameWeights::unknown;
    if (a->layout != b->layout) return SameWeights::other_layout;
    return a->values == b->values ? SameWeights::yes : SameWeights::other_values;
}

bool holds_compressed(const WeightSource& weights) {
    return std::any_of(weights.names().begin(), weights.names().end(),
                       [&](const std::string& name) { return weights.packed(name, DType::bf16) != nullptr; });
}

}   // namespace trainer
